/** All of it at once: see `libzmq.ts`. */

export { ZmqClient } from "../transport/zmq/client.ts";
export { terminateContext } from "../transport/zmq/context.ts";
export { Subscriber } from "../transport/zmq/socket.ts";
