/** One who sends mutated messages to every port of an engine, and waits now and then until all has been read. */
import { encodeBackend } from "../../src/protocol/backend.ts";
import { Dealer, Socket } from "../../src/transport/zmq/socket.ts";
import type { Random } from "../broker/simulation/random.ts";
import { fromRequestors, fromSubscribers, fromWorkers, type Message } from "./messages.ts";
import { mutate } from "./mutation.ts";
import { metaFrame } from "./raw-requestor.ts";

/** ms. A port that has not read what was sent by then is not served any more. */
const patienceMs = 60_000;
/** rounds until the connections are made anew, so that lost ones are a part of it. */
const roundsPerConnection = 20;
const room = { sendHighWaterMark: 100_000, receiveHighWaterMark: 100_000, linger: 0 };

interface Port {
  readonly name: string;
  readonly open: () => Socket;
  readonly sources: typeof fromRequestors;
  /** Frames before a message that is not spoilt at its envelope. */
  readonly envelope: Message;
  /** What is answered in any case. */
  readonly ping: (serial: string) => (Uint8Array | string)[];
  readonly isPong: (frames: readonly Uint8Array[], serial: string) => boolean;
}

export class Attacker implements Disposable {
  readonly #ports: readonly Port[];
  readonly #sockets = new Map<Port, Socket>();
  readonly #random: Random;
  #rounds = 0;

  /** @param ports the first and the second after `worker` are task workers' own, the third is a data port */
  constructor({ frontend, backend, worker }: { frontend: number; backend: number; worker: number }, random: Random) {
    const dealer = (port: number) => (): Socket => connected(new Dealer(room), port);
    const requests = (name: string, port: number): Port => ({
      name,
      open: dealer(port),
      sources: fromRequestors,
      envelope: [new Uint8Array(0)],
      ping: (serial) => ["", metaFrame({ version: 0.2, type: "ACK", serial })],
      isPong: (frames, serial) => textOf(frames).includes(`"serial":"${serial}"`),
    });
    this.#random = random;
    this.#ports = [
      requests("frontend", frontend),
      requests("worker's own port", worker),
      {
        name: "backend",
        open: dealer(backend),
        sources: fromWorkers,
        envelope: [],
        ping: () => encodeBackend({ type: "BEAT" }),
        isPong: (frames) => /"(WHO|BEAT)"/.test(textOf(frames)),
      },
      {
        name: "data port",
        open: () => connected(new Socket("xsub", room), worker + 2),
        sources: fromSubscribers,
        envelope: [],
        ping: () => ["\u0001$topics"],
        isPong: (frames) => textOf(frames).startsWith("$topics"),
      },
    ];
  }

  /** Sends one mutated message to one of the ports; gives it without its envelope. */
  sendOne(): Message {
    const random = this.#random;
    const port = random.pick(this.#ports);
    const message = mutate(random.pick(port.sources)(random), random);
    const envelope = random.chance(0.97) ? port.envelope : mutate([...port.envelope], random);
    this.#socketOf(port).trySend([...envelope, ...message]);
    return message;
  }

  /** Waits until every port has read what was sent to it; throws where one does not. */
  async allRead(): Promise<void> {
    for (const port of this.#ports) await this.#isRead(port, this.#socketOf(port));
    if (++this.#rounds % roundsPerConnection === 0) this[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    for (const socket of this.#sockets.values()) socket.close();
    this.#sockets.clear();
  }

  async #isRead(port: Port, socket: Socket): Promise<void> {
    const serial = `pong-${this.#rounds}`;
    // Pongs of the round before, which may lie here still, are no answer to this one.
    while (socket.tryReceive() !== null);
    const deadlineMs = performance.now() + patienceMs;
    for (let nextPingMs = 0; performance.now() < deadlineMs; await Bun.sleep(1)) {
      // A mutated message may have cost the connection and the ping with it.
      if (performance.now() >= nextPingMs) {
        socket.trySend(port.ping(serial));
        nextPingMs = performance.now() + 1_000;
      }
      for (let frames = socket.tryReceive(); frames !== null; frames = socket.tryReceive()) {
        if (port.isPong(frames, serial)) return;
      }
    }
    throw new Error(`the ${port.name} does not answer any more`);
  }

  #socketOf(port: Port): Socket {
    const socket = this.#sockets.get(port) ?? port.open();
    this.#sockets.set(port, socket);
    return socket;
  }
}

const connected = (socket: Socket, port: number): Socket => {
  socket.connect(`tcp://127.0.0.1:${port}`);
  return socket;
};

const textOf = (frames: readonly Uint8Array[]): string => frames.map((frame) => Buffer.from(frame)).join(" ");
