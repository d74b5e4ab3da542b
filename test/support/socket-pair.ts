/** Two Unix sockets that are each other's peers: `using pair = socketPair()`. */
import { closeSync } from "node:fs";
import { openChannelPair } from "../../src/process/channel.ts";

export const socketPair = () => {
  const { ours: one, theirs: other } = openChannelPair();
  return {
    one,
    other,
    [Symbol.dispose]: () => {
      closeSync(one);
      closeSync(other);
    },
  };
};
