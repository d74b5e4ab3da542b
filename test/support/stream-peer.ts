/** A publisher and subscriber of a stream port by hand, over either transport. */
import { encodeStreamRequest, type StreamRequest } from "../../src/protocol/stream.ts";
import { encodePublicationMeta, type PayloadType } from "../../src/protocol/values.ts";
import type { KeyPair } from "../../src/security/certificate.ts";
import { curveClient } from "../../src/security/curve.ts";
import { ShmConnection } from "../../src/transport/shm/connection.ts";
import { dial, localName } from "../../src/transport/shm/unix.ts";
import { lostConnection } from "../../src/transport/transport.ts";
import { Dealer } from "../../src/transport/zmq/socket.ts";
import { until } from "./connections.ts";

interface Transport {
  trySend(frames: readonly (Uint8Array | string)[]): string;
  tryReceive(): readonly (Uint8Array | string)[] | null;
  onReadable(handler: () => void): void;
  close(): void;
}

/** What came: a value, or a reply. */
interface Arrived {
  readonly topic: string;
  readonly meta: Record<string, unknown>;
  /** Parsed, where it is JSON. */
  readonly payload: unknown;
  readonly bytes: number;
}

export class HandPeer {
  readonly arrived: Arrived[] = [];
  isLost = false;

  constructor(private readonly transport: Transport) {
    transport.onReadable(() => this.#read());
  }

  get values(): Arrived[] {
    return this.arrived.filter(({ topic }) => topic !== "");
  }

  repliesOf(type: string): Arrived[] {
    return this.arrived.filter(({ topic, meta }) => topic === "" && meta.type === type);
  }

  publish(topic: string, payload: Uint8Array | string, type: PayloadType | null = null, serial?: string): string {
    return this.transport.trySend([topic, encodePublicationMeta(type, serial), payload]);
  }

  send(frames: readonly (Uint8Array | string)[]): void {
    this.transport.trySend(frames);
  }

  request(type: StreamRequest["type"], serial: string, data?: unknown): void {
    this.transport.trySend(encodeStreamRequest(type, serial, data));
  }

  /** Sends a request and waits for its answer. */
  async ask(type: StreamRequest["type"], serial: string, data?: unknown): Promise<Arrived> {
    this.request(type, serial, data);
    return await this.reply(serial);
  }

  async reply(serial: string): Promise<Arrived> {
    const found = (): Arrived | undefined =>
      this.arrived.find(
        ({ topic, meta: { serial: its, type } }) => topic === "" && its === serial && ends.has(`${type}`),
      );
    await until(`an answer to ${serial}`, () => found() !== undefined);
    const reply = found();
    if (reply === undefined) throw new Error("no answer");
    this.arrived.splice(this.arrived.indexOf(reply), 1);
    return reply;
  }

  [Symbol.dispose](): void {
    this.transport.close();
  }

  #read(): void {
    for (let frames = this.transport.tryReceive(); frames !== null; frames = this.transport.tryReceive()) {
      if (frames[0] === lostConnection) {
        this.isLost = true;
        return;
      }
      const [topic = "", meta = "", payload = ""] = frames;
      this.arrived.push({
        topic: textOf(topic),
        meta: JSON.parse(textOf(meta)) as Record<string, unknown>,
        payload: parsed(textOf(payload)),
        bytes: Buffer.from(payload).length,
      });
    }
  }
}

const ends: ReadonlySet<string> = new Set(["ACK", "ERR"]);
const textOf = (frame: Uint8Array | string): string => Buffer.from(frame).toString();
const parsed = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
};

const portOf = (endpoint: string): number => Number(/\d+$/.exec(endpoint)?.[0]);

/** The bare connection to the socket beside a stream port of an engine without keys. */
export const localStream = (endpoint: string): ShmConnection => {
  const line = dial(localName("127.0.0.1", portOf(endpoint)));
  if (line === null) throw new Error(`nothing listens beside ${endpoint}`);
  return new ShmConnection(line);
};

export const localPeer = (endpoint: string): HandPeer => {
  const connection = localStream(endpoint);
  return new HandPeer({
    trySend: (frames) => connection.trySend(frames),
    tryReceive: () => connection.tryReceive(),
    onReadable: (handler) => connection.onReadable(handler),
    close: () => connection.drop(),
  });
};

export const zmqPeer = (endpoint: string, engineKey?: string, key?: KeyPair): HandPeer => {
  const dealer = new Dealer(engineKey !== undefined && key !== undefined ? curveClient(engineKey, key) : {});
  dealer.connect(endpoint);
  return new HandPeer(dealer);
};
