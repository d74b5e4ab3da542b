/** The part of the client that needs libzmq, for one `import()`: see `libzmq.ts`. */

import type { StreamConnection } from "../data/stream-link.ts";
import { ZmqStream } from "../data/zmq-stream.ts";
import {
  frameBytesHardMax,
  peerQueueMessagesMax,
  reconnectMs,
  reconnectMsMax,
  requestorBeatMs,
  requestorSilenceMs,
} from "../limits.ts";
import type { ClientConnection } from "../transport/transport.ts";
import { ZmqClient } from "../transport/zmq/client.ts";
import type { SocketOptions } from "../transport/zmq/options.ts";
import { Subscriber } from "../transport/zmq/socket.ts";

export { terminateContext } from "../transport/zmq/context.ts";

const socketOptions: SocketOptions = {
  linger: 0,
  receiveHighWaterMark: peerQueueMessagesMax,
  maxMessageSize: frameBytesHardMax,
  reconnectInterval: reconnectMs,
  reconnectIntervalMax: reconnectMsMax,
  heartbeatInterval: requestorBeatMs,
  heartbeatTimeout: requestorSilenceMs,
};

/** @param keys options of the socket for an engine with keys */
export const openZmqClient = (endpoint: string, keys: SocketOptions): ClientConnection =>
  new ZmqClient(endpoint, { ...keys, ...socketOptions });

/** @param keys options of the socket for an engine with keys */
export const openZmqStream = (endpoint: string, keys: SocketOptions): StreamConnection => new ZmqStream(endpoint, keys);

/** @param keys options of the socket for an engine with keys */
export const openSubscriber = (keys: SocketOptions): Subscriber => new Subscriber({ ...keys, ...socketOptions });
