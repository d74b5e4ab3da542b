/** All of it at once: see `libzmq.ts`. */
export { terminateContext } from "../zmq/context.ts";
export { Subscriber } from "../zmq/socket.ts";
export { ZmqLink } from "./zmq-link.ts";
