/**
 * A process at the other end of a local socket, which behaves as its second argument says: one of the engine's own workers as the
 * kernel shows it, be it dead or halted.
 */

import { ShmDealer } from "../../src/transport/shm/dealer.ts";
import { lostConnection } from "../../src/transport/transport.ts";

const [path = "", behaviour = ""] = process.argv.slice(2);
const dealer = new ShmDealer(path, "hello");

const onEach = (heed: (frames: readonly (string | Uint8Array)[]) => void): void =>
  dealer.onReadable(() => {
    for (let message = dealer.tryReceive(); message !== null; message = dealer.tryReceive()) heed(message);
  });

const behaviours: Readonly<Record<string, () => void>> = {
  /** Sends back what it gets. */
  echo: () => onEach((frames) => void dealer.trySend(frames)),
  /** Once there is a message it sends a hundred, for which there is room, and dies with all that it got unread. */
  "die talking": () =>
    dealer.onReadable(() => {
      for (let count = 1; count <= 100; count++) dealer.trySend([`${count}`]);
      process.kill(process.pid, "SIGKILL");
    }),
  /** Says of each message how many bytes it has, and of the end that it is one. */
  tell: () => onEach(([frame]) => void process.stdout.write(`${frame === lostConnection ? "lost" : frame?.length}\n`)),
  /** Sends much at once, and then runs a task that lets nothing else run. */
  // Four rings: a worker waits for 200 ms at most, which a busy machine may take for more.
  "say much and block": () => {
    dealer.trySend([Buffer.alloc(1024 * 1024, "x")]);
    Bun.sleepSync(60_000);
  },
  /** Never reads. */
  deaf: () => undefined,
};

const behave = behaviours[behaviour];
if (behave === undefined) throw new Error(`no such behaviour: ${behaviour}`);
behave();
setInterval(() => undefined, 60_000);
