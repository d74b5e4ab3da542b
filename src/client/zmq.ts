/** All of it at once: see `libzmq.ts`. */
export { terminateContext } from "../transport/zmq/context.ts";
export { Subscriber } from "../transport/zmq/socket.ts";
export { ZmqLink } from "./zmq-link.ts";
