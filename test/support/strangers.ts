/** Those who must not come in, with real sockets: how many of their messages does a port that binds with keys deliver? */
import type { SocketOptions } from "../../src/transport/zmq/options.ts";
import { Dealer, type Socket } from "../../src/transport/zmq/socket.ts";

/**
 * Lets that many sockets connect with these options and send, and gives how many messages have come out at the port.
 * @param settleMs ms to wait, unless a message from each is there before
 */
export const deliveredOf = async (
  port: Socket,
  settleMs: number,
  options: () => SocketOptions,
  tries: number,
): Promise<number> => {
  const strangers = Array.from({ length: tries }, () => new Dealer({ ...options(), reconnectInterval: 50 }));
  try {
    for (const stranger of strangers) {
      stranger.connect(port.lastEndpoint);
      stranger.trySend(["", "let me in"]);
    }
    return await countArrivals(port, settleMs, tries);
  } finally {
    for (const stranger of strangers) stranger.close();
  }
};

/** How many messages come within that time; it need not be over when there are as many as `most`. */
export const countArrivals = async (port: Socket, settleMs: number, most: number): Promise<number> => {
  let count = 0;
  for (const endMs = performance.now() + settleMs; performance.now() < endMs && count < most; await Bun.sleep(5)) {
    while (port.tryReceive() !== null) count++;
  }
  return count;
};
