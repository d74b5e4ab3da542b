/** The least there can be between two processes with the same sockets: whatever comes goes back. */
import { say } from "../../src/process/log.ts";
import { Router } from "../../src/transport/zmq/socket.ts";

const socket = new Router({ mandatory: true, sendHighWaterMark: 16_384, receiveHighWaterMark: 16_384 });
socket.bind(`tcp://127.0.0.1:${process.argv[2]}`);
socket.onReadable(() => {
  for (let message = socket.tryReceive(); message !== null; message = socket.tryReceive()) socket.trySend(message);
});
say("ready");
