/**
 * A data worker's stream port as a publisher or a subscriber has it: one connection, and another
 * one each time that it is lost.
 *
 * A connection stands once the data worker has answered a first request. By shared memory it is
 * tried first; where that finds nobody, ZeroMQ waits for the data worker, and shared memory is tried
 * again once it is there.
 */
import { drainMessagesMax, localAnswerMs, reconnectMs, reconnectMsMax } from "../limits.ts";
import { ProtocolError } from "../protocol/errors.ts";
import { decodeStreamReply, encodeStreamRequest, type StreamReply } from "../protocol/stream.ts";
import { sizeBytes } from "../transport/shm/framing.ts";
import { framesIn } from "./framed.ts";
import type { StreamConnection } from "./stream-connection.ts";

/** The ways of this process to a stream port, by its endpoint. */
export interface StreamDialer {
  /** Connects by shared memory; null where there is no such way at present. */
  local(endpoint: string): StreamConnection | null;
  /** Connects by ZeroMQ, in the background; null where there is no such way. */
  readonly zmq: ((endpoint: string) => Promise<StreamConnection>) | null;
}

interface StreamLinkOwner {
  /** The connection stands, for the first time or again. */
  onUp(connection: StreamConnection): void;
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
  #connection: StreamConnection | null = null;
  #isLocal = false;
  #stands = false;
  /** The last local connection was lost before it stood, so the next one goes by ZeroMQ. */
  #isLocalRefused = false;
  #isClosed = false;
  #timer: Timer | undefined;
  /** Why no connection could be begun; null if one could. */
  #fault: string | null = null;

  /** @param endpoint of the stream port, `tcp://HOST:PORT` */
  constructor(
    readonly endpoint: string,
    private readonly dialer: StreamDialer,
    private readonly owner: StreamLinkOwner,
  ) {
    void this.#open();
  }

  get stands(): boolean {
    return this.#stands;
  }

  /** The reason why there is no connection, if it is known. */
  get fault(): string | null {
    return this.#fault;
  }

  /** Takes what has come at once, instead of in the reactor's next turn. */
  read(): void {
    if (this.#connection !== null) this.#receive(this.#connection);
  }

  close(): void {
    this.#isClosed = true;
    this.#drop();
  }

  async #open(): Promise<void> {
    if (this.#openLocal()) return;
    const { zmq } = this.dialer;
    if (zmq === null) return this.#openLater(reconnectMsMax);
    try {
      const connection = await zmq(this.endpoint);
      if (this.#isClosed || this.#connection !== null) return connection.close();
      this.#use(connection, false);
    } catch (error) {
      this.#fault = error instanceof Error ? error.message : String(error);
      this.#openLater(reconnectMsMax);
    }
  }

  #openLocal(): boolean {
    const connection = this.#isLocalRefused ? null : this.dialer.local(this.endpoint);
    if (connection === null) return false;
    this.#use(connection, true);
    // A process that listens there and says nothing must not keep us from the port.
    this.#timer = setTimeout(() => this.#lose(), localAnswerMs);
    return true;
  }

  #use(connection: StreamConnection, isLocal: boolean): void {
    this.#connection = connection;
    this.#isLocal = isLocal;
    this.#fault = null;
    connection.onReadable(() => this.#receive(connection));
    connection.gather(encodeStreamRequest("CREDIT", pingSerial, { credit: 1, sync: true }));
    connection.flush();
  }

  #receive(connection: StreamConnection): void {
    const { framed } = connection;
    let count = 0;
    for (; count < drainMessagesMax && connection.takeRaw(); count++) {
      const { raw, rawStart, rawEnd } = framed;
      if (rawEnd - rawStart < sizeBytes) this.owner.onMalformed();
      else if (raw.readUInt32LE(rawStart) > 0) this.owner.onValue(raw, rawStart, rawEnd);
      else this.#reply(raw, rawStart + sizeBytes, rawEnd);
      // A handler may have closed it, or the ping's answer may have led to another connection.
      if (this.#connection !== connection) return;
    }
    if (count > 0 && this.#stands) this.owner.onRead();
    if (this.#connection === connection && connection.isOver) this.#lose();
  }

  #reply(raw: Buffer, start: number, end: number): void {
    const reply = replyIn(raw, start, end);
    if (reply === null) this.owner.onMalformed();
    else if (reply.serial !== pingSerial) this.owner.onReply(reply);
    else if (!this.#stands) this.#stand();
  }

  #stand(): void {
    clearTimeout(this.#timer);
    const connection = this.#connection;
    if (!this.#isLocal && this.#openLocal()) return connection?.close();
    this.#stands = true;
    if (connection !== null) this.owner.onUp(connection);
  }

  #lose(): void {
    this.#isLocalRefused = this.#isLocal && !this.#stands;
    const hasStood = this.#stands;
    this.#drop();
    // After a pause, since a data worker may take connections and drop them.
    this.#openLater(reconnectMs);
    if (hasStood) this.owner.onLost();
  }

  #drop(): void {
    clearTimeout(this.#timer);
    this.#stands = false;
    this.#connection?.close();
    this.#connection = null;
  }

  #openLater(ms: number): void {
    clearTimeout(this.#timer);
    if (!this.#isClosed) this.#timer = setTimeout(() => void this.#open(), ms);
  }
}

/** The reply whose frames after the empty one are there; null if it is none. */
const replyIn = (raw: Buffer, start: number, end: number): StreamReply | null => {
  const frames = framesIn(raw, start, end) ?? [];
  const [meta, data] = frames;
  if (meta === undefined || data === undefined || frames.length > 2) return null;
  const reply = decodeStreamReply(meta, data);
  return reply instanceof ProtocolError ? null : reply;
};
