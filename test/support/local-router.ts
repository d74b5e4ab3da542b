/** Both ends of local sockets for tests: a port that keeps what comes, what a dealer hears, and workers in processes of their own. */
import { join } from "node:path";
import { workersMax } from "../../src/limits.ts";
import { libc } from "../../src/transport/libc.ts";
import type { ShmConnection } from "../../src/transport/shm/connection.ts";
import type { ShmDealer } from "../../src/transport/shm/dealer.ts";
import { MessageWriter } from "../../src/transport/shm/framing.ts";
import { ShmListener } from "../../src/transport/shm/listener.ts";
import { dial, type Line } from "../../src/transport/shm/unix.ts";
import type { SendResult } from "../../src/transport/transport.ts";

export type Received = readonly [key: string, ...frames: string[]];

/** A port that keeps what comes; `until` waits for so many messages. */
export class KeepingPort implements Disposable {
  readonly received: Received[] = [];
  readonly port: ShmListener;
  /** In the order in which they spoke first, ended ones included. */
  readonly connections: ShmConnection[] = [];
  onMessage: (connection: ShmConnection) => void = () => undefined;
  #wanted: (() => void) | null = null;

  constructor(path: string, silenceMs?: number) {
    this.port = new ShmListener({ path, connectionsMax: workersMax, ...(silenceMs !== undefined && { silenceMs }) });
    this.port.onReadable((connection) => {
      if (!this.connections.includes(connection)) this.connections.push(connection);
      for (let message = connection.tryReceive(); message !== null; message = connection.tryReceive()) {
        this.received.push([connection.peer, ...message.map(String)]);
        this.onMessage(connection);
      }
      this.#wanted?.();
    });
  }

  /** As the router does it, of a message alone. */
  send(key: string, frames: readonly (Uint8Array | string)[]): SendResult {
    const result = this.port.gather(key, frames);
    this.port.flush();
    return result;
  }

  async until(isEnough: (received: readonly Received[]) => boolean): Promise<readonly Received[]> {
    while (!isEnough(this.received)) {
      await new Promise<void>((resolve) => {
        this.#wanted = resolve;
      });
    }
    return this.received;
  }

  [Symbol.dispose](): void {
    this.port.close();
  }
}

/** The bytes of a message, as they travel. */
export const encodeMessage = (frames: readonly (Uint8Array | string)[]): Buffer => {
  const writer = new MessageWriter();
  writer.add(frames);
  return Buffer.from(writer.first());
};

/** A line to who listens there, with nobody at this end of it. */
export const dialled = (path: string): Line => {
  const line = dial(path);
  if (line === null) throw new Error(`nobody listens at ${path}`);
  return line;
};

/** Wakes the other end. */
export const ring = ({ bell }: Line): void => void libc.send(bell, Buffer.from("!"), 1, 0);

export const isLost = ([, text]: Received): boolean => text === "\0lost";

/** All that the dealer hears from now on, a text a message. `onHeard` is called after each turn of it. */
export const heardBy = (dealer: ShmDealer, onHeard: (heard: readonly string[]) => void = () => undefined): string[] => {
  const heard: string[] = [];
  dealer.onReadable(() => {
    for (let message = dealer.tryReceive(); message !== null; message = dealer.tryReceive())
      heard.push(String(message));
    onHeard(heard);
  });
  return heard;
};

const peer = join(import.meta.dir, "local-peer.ts");

/** A worker in a process of its own, see local-peer.ts. */
export const startPeer = (path: string, behaviour: string) => {
  const child = Bun.spawn([process.execPath, peer, path, behaviour], { stdio: ["ignore", "pipe", "inherit"] });
  return {
    child,
    // One that is halted dies of nothing less.
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
};
