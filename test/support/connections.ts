/** Bare TCP connections, by the hundred: `await using crowd = await connectMany(port, 1000)`. */

export interface Crowd extends AsyncDisposable {
  /** Those that the other side has not closed. */
  readonly open: number;
}

/** @param greeting what each says, and then nothing more */
export const connectMany = async (port: number, count: number, greeting?: Uint8Array): Promise<Crowd> => {
  let open = 0;
  const sockets: Bun.Socket[] = [];
  for (let index = 0; index < count; index++) {
    sockets.push(
      await Bun.connect({
        hostname: "127.0.0.1",
        port,
        socket: {
          open: (socket) => {
            open++;
            if (greeting !== undefined) socket.write(greeting);
          },
          data: () => undefined,
          close: () => {
            open--;
          },
        },
      }),
    );
  }
  return {
    get open() {
      return open;
    },
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.end();
      while (open > 0) await Bun.sleep(5);
    },
  };
};

/** Waits until something is so, and fails the test if it does not come to be so within `patienceMs`. */
export const until = async (
  what: string | (() => string),
  isSo: () => boolean | Promise<boolean>,
  patienceMs = 30_000,
): Promise<void> => {
  for (const deadlineMs = performance.now() + patienceMs; performance.now() < deadlineMs; await Bun.sleep(50)) {
    if (await isSo()) return;
  }
  throw new Error(`in vain waited for: ${typeof what === "string" ? what : what()}`);
};
