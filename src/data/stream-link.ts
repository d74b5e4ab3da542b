/**
 * A data worker's stream port as a publisher or a subscriber has it: one connection, and another
 * one each time that it is lost. A connection stands once the data worker has answered a first
 * request.
 */
import { dataBytesMax, drainMessagesMax } from "../limits.ts";
import { addressIn } from "../protocol/address.ts";
import { ProtocolError } from "../protocol/errors.ts";
import type { Frame } from "../protocol/frame.ts";
import type { Json } from "../protocol/json.ts";
import { decodeStreamReply, encodeStreamRequest, type StreamReply } from "../protocol/stream.ts";
import { dataSocketPath } from "../security/state-folders.ts";
import { Redial } from "../transport/redial.ts";
import { ShmConnection } from "../transport/shm/connection.ts";
import { type Framed, sizeBytes } from "../transport/shm/framing.ts";
import { closeLine, dial, isOwnOrRoot, localName, peerUid } from "../transport/shm/unix.ts";
import type { SendResult } from "../transport/transport.ts";
import { framesIn } from "./framed.ts";

/**
 * One connection of a publisher or of a subscriber: by shared memory on this machine, else by
 * ZeroMQ. Messages come framed, as they travel.
 */
export interface StreamConnection {
  /** The message that was taken last. */
  readonly framed: Framed;
  /** The connection is lost, and everything that came before is taken. */
  readonly isOver: boolean;
  /** False while the data worker is behind. What is gathered then waits in this process. */
  readonly hasRoom: boolean;
  /** bytes that were gathered, and that the data worker may not have taken. */
  readonly unsentBytes: number;
  /** Called when there is more room, or less is unsent. */
  onRoom: (() => void) | null;
  /** Calls `handler` whenever there is something to take, or the connection is over. */
  onReadable(handler: () => void): void;
  /** Takes the next message; false if there is none. */
  takeRaw(): boolean;
  /** Takes a whole message or nothing; it is sent at `flush` at the latest. */
  gather(frames: readonly Frame[]): SendResult;
  flush(): void;
  /** Sends the gathered messages, as far as there is room for them. */
  close(): void;
}

/** The ways of this process to a stream port, by its endpoint. */
export interface StreamDialer {
  /** Connects by shared memory; null where there is no such way at present. */
  local(endpoint: string): StreamConnection | null;
  /** Connects by ZeroMQ, in the background; null where there is no such way. */
  readonly zmq: ((endpoint: string) => Promise<StreamConnection>) | null;
}

interface StreamLinkOwner {
  /** The connection stands, for the first time or again. */
  onUp(connection: StreamConnection, valueBytesMax: number): void;
  /** Nothing comes any more of what was requested. Everything that came was handed over before. */
  onLost(): void;
  /** A value: a framed message without its length, good until the call ends. */
  onValue(raw: Buffer, start: number, end: number): void;
  onReply(reply: StreamReply): void;
  /** A message that the protocol does not allow was skipped. */
  onMalformed(): void;
  /** Values or replies were handed over, and more may follow. */
  onRead(): void;
}

const pingSerial = "-ping";

export class StreamLink {
  readonly #redial: Redial<StreamConnection>;

  /** @param endpoint of the stream port, `tcp://HOST:PORT` */
  constructor(
    readonly endpoint: string,
    dialer: StreamDialer,
    private readonly owner: StreamLinkOwner,
  ) {
    const { zmq } = dialer;
    this.#redial = new Redial({
      local: () => dialer.local(endpoint),
      zmq: zmq === null ? null : () => zmq(endpoint),
      use: (connection) => {
        connection.onReadable(() => this.#receive(connection));
        connection.gather(encodeStreamRequest("CREDIT", pingSerial, { credit: 1, sync: true }));
        connection.flush();
      },
      onLost: (hasStood) => hasStood && owner.onLost(),
    });
  }

  /** The reason why there is no connection, if it is known. */
  get fault(): string | null {
    return this.#redial.fault;
  }

  /** Takes what has come at once, instead of in the reactor's next turn. */
  read(): void {
    const { link } = this.#redial;
    if (link !== null) this.#receive(link);
  }

  close(): void {
    this.#redial.close()?.close();
  }

  #receive(connection: StreamConnection): void {
    const { framed } = connection;
    let count = 0;
    for (; count < drainMessagesMax && connection.takeRaw(); count++) {
      const { raw, rawStart, rawEnd } = framed;
      if (rawEnd - rawStart < sizeBytes) this.owner.onMalformed();
      else if (raw.readUInt32LE(rawStart) > 0) this.owner.onValue(raw, rawStart, rawEnd);
      else this.#reply(connection, raw, rawStart + sizeBytes, rawEnd);
      // A handler may have closed it, or the ping's answer may have led to another connection.
      if (this.#redial.link !== connection) return;
    }
    if (count > 0 && this.#redial.stands) this.owner.onRead();
    if (this.#redial.link === connection && connection.isOver) this.#redial.lose();
  }

  #reply(connection: StreamConnection, raw: Buffer, start: number, end: number): void {
    const reply = replyIn(raw, start, end);
    if (reply === null) this.owner.onMalformed();
    else if (reply.serial !== pingSerial) this.owner.onReply(reply);
    else if (!this.#redial.stands && this.#redial.stand()) this.owner.onUp(connection, valueBytesMaxIn(reply.data));
  }
}

/**
 * bytes of a value that a data worker takes, by its first answer. An earlier version does not say
 * it.
 */
const valueBytesMaxIn = (data: Json): number => {
  const { valueBytesMax } = (typeof data === "object" && data !== null ? data : {}) as { valueBytesMax?: Json };
  return typeof valueBytesMax === "number" ? valueBytesMax : dataBytesMax;
};

/** The reply whose frames after the empty one are there; null if it is none. */
const replyIn = (raw: Buffer, start: number, end: number): StreamReply | null => {
  const frames = framesIn(raw, start, end) ?? [];
  const [meta, data] = frames;
  if (meta === undefined || data === undefined || frames.length > 2) return null;
  const reply = decodeStreamReply(meta, data);
  return reply instanceof ProtocolError ? null : reply;
};

/**
 * Connects to the stream port of a data worker, from a process of the same engine; null if none of
 * this machine listens there.
 * @param endpoint of its stream port, as it says it
 * @param folder of the engine's sockets, which has the one of an engine with keys; null without
 * keys
 */
export const dialOwnStream = (endpoint: string, folder: string | null): ShmConnection | null => {
  const { host, port } = addressIn(endpoint);
  const line =
    folder === null ? dial(localName(host, port), "") : dial(dataSocketPath(folder, port), `${host}:${port}`);
  if (line === null) return null;
  if (isOwnOrRoot(peerUid(line.bell))) return new ShmConnection(line).watchPeer();
  closeLine(line);
  return null;
};
