/** Two Unix sockets that are each other's peers: `using pair = socketPair()`. */
import { dlopen, ptr } from "bun:ffi";
import { libc } from "../../src/zmq/libc.ts";

const { symbols: system } = dlopen("libc.so.6", {
  socketpair: { args: ["int", "int", "int", "ptr"], returns: "int" },
});

export const socketPair = () => {
  const pair = new Int32Array(2);
  if (system.socketpair(1, 1, 0, ptr(pair)) !== 0) throw new Error("no sockets");
  const [one = -1, other = -1] = pair;
  return {
    one,
    other,
    [Symbol.dispose]: () => {
      libc.close(one);
      libc.close(other);
    },
  };
};
