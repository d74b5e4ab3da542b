/** What all ZeroMQ sockets of a client have in common. */
import {
  frameBytesHardMax,
  peerQueueMessagesMax,
  reconnectMs,
  reconnectMsMax,
  requestorBeatMs,
  requestorSilenceMs,
} from "../limits.ts";
import type { SocketOptions } from "../transport/zmq/options.ts";

export const socketOptions: SocketOptions = {
  linger: 0,
  receiveHighWaterMark: peerQueueMessagesMax,
  maxMessageSize: frameBytesHardMax,
  reconnectInterval: reconnectMs,
  reconnectIntervalMax: reconnectMsMax,
  heartbeatInterval: requestorBeatMs,
  heartbeatTimeout: requestorSilenceMs,
};
