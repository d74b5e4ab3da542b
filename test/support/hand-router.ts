/** Real sockets of a router that a test answers by hand: `using router = handRouter()`. */
import { addressIn } from "../../src/protocol/address.ts";
import type { Control } from "../../src/protocol/control.ts";
import type { ErrorCode } from "../../src/protocol/errors.ts";
import type { Frame } from "../../src/protocol/frame.ts";
import { encodeData, encodeError, packNow } from "../../src/protocol/frames.ts";
import type { Json } from "../../src/protocol/json.ts";
import { encodeReplyMeta, type ReplyPart, type ReplyType } from "../../src/protocol/replies.ts";
import { decodeRequest, type RequestMessage } from "../../src/protocol/requests.ts";
import { ShmListener } from "../../src/transport/shm/listener.ts";
import { localName } from "../../src/transport/shm/unix.ts";
import { saysLost } from "../../src/transport/transport.ts";
import { errno, ZmqError } from "../../src/transport/zmq/library.ts";
import { Router } from "../../src/transport/zmq/socket.ts";

export interface Arrived {
  readonly request: RequestMessage;
  readonly serial: string;
  /** Sends frames back, without envelope, as they are. */
  send(...frames: Frame[]): void;
  /** META alone. */
  acknowledge(): void;
  ack(data: Json): void;
  /** The answer to a batch. */
  ackAll(parts: readonly ReplyPart[]): void;
  progress(data: Json): void;
  /** Wishes for KEEPALIVEs. */
  wish(deadmanMs: number): void;
  refuse(code: ErrorCode, message: string): void;
}

/** A message, and where its answers go. */
interface Message {
  readonly frames: readonly Frame[];
  readonly send: (frames: readonly Frame[]) => void;
}

export class HandRouter implements Disposable {
  readonly #socket = new Router({ linger: 0 });
  readonly #local: ShmListener | null = null;
  /** What has come by the local port, and who waits for more. */
  readonly #come: Message[] = [];
  #wanted: (() => void) | null = null;
  readonly endpoint: string;

  /** @param isLocal as well at the Unix socket that bears the endpoint's name, by which all comes then */
  constructor(endpoint: string, isLocal: boolean) {
    this.#socket.bind(endpoint);
    this.endpoint = this.#socket.lastEndpoint;
    if (!isLocal) return;
    const { host, port } = addressIn(this.endpoint);
    this.#local = new ShmListener({ path: localName(host, port), connectionsMax: 16 });
    this.#local.onReadable((connection) => {
      for (let frames = connection.tryReceive(); frames !== null; frames = connection.tryReceive())
        if (!saysLost(frames)) this.#come.push({ frames, send: (reply) => this.#sendTo(connection.peer, reply) });
      this.#wanted?.();
    });
  }

  /** The next request; one that is not understood fails the test. Pings, by which a client finds us, are answered on the way. */
  async next(): Promise<Arrived> {
    for (;;) {
      const arrived = this.#understand(this.#local === null ? await this.#fromSocket() : await this.#fromLocal());
      if (arrived.request.kind !== "ping") return arrived;
      arrived.acknowledge();
    }
  }

  /** Whether a request has come that nobody has taken with `next` yet. */
  get hasMore(): boolean {
    return this.#socket.readable || this.#come.length > 0;
  }

  /** Answers every request from now on. */
  async serve(answer: (arrived: Arrived) => void): Promise<void> {
    for (;;) {
      const arrived = await this.next().catch((error) => {
        if (this.#socket.closed) return null;
        throw error;
      });
      if (arrived === null) return;
      answer(arrived);
    }
  }

  [Symbol.dispose](): void {
    this.#socket.close();
    this.#local?.close();
    this.#wanted?.();
  }

  async #fromSocket(): Promise<Message> {
    const [identity = new Uint8Array(0), delimiter, ...frames] = await this.#socket.receive();
    if (delimiter?.length !== 0) throw new Error(`the client sent no delimiter: ${frames.map(String)}`);
    const send: Message["send"] = (reply) => {
      if (!this.#socket.closed) this.#socket.trySend([identity, "", ...reply]);
    };
    return { frames, send };
  }

  async #fromLocal(): Promise<Message> {
    while (!this.#socket.closed) {
      const message = this.#come.shift();
      if (message !== undefined) return message;
      await new Promise<void>((resolve) => {
        this.#wanted = resolve;
      });
    }
    throw new Error("the router is closed");
  }

  #sendTo(key: string, frames: readonly Frame[]): void {
    this.#local?.gather(key, frames);
    this.#local?.flush();
  }

  #understand({ frames, send: sendAll }: Message): Arrived {
    const request = decodeRequest(frames);
    if (request.kind === "bad") throw new Error(`the client sent nonsense: ${frames.map(String)}`);
    const { serial } = request.meta;
    const send = (...reply: Frame[]): void => sendAll(reply);
    const meta = (type: ReplyType): string => encodeReplyMeta("TASK-1", type, 0.2, serial);
    return {
      request,
      serial: serial ?? "",
      send,
      acknowledge: () => send(meta("ACK")),
      ack: (data) => send(meta("ACK"), encodeData(data)),
      ackAll: (parts) => send(meta("ACK"), ...parts.map((part) => JSON.stringify({ ...part, pack: packNow() }))),
      progress: (data) => send(meta("PROGRESS"), encodeData(data)),
      wish: (deadmanMs) => send(meta("KEEPALIVE"), encodeData({ deadmanMs })),
      refuse: (code, message) => send(meta("ERR"), encodeError(code, message)),
    };
  }
}

export const handRouter = (endpoint = "tcp://127.0.0.1:*", isLocal = false): HandRouter =>
  new HandRouter(endpoint, isLocal);

/** The arguments of each part of a batch, of a task request, the command of a CONTROL. */
export const argsOfAll = ({ request }: Arrived): Json[][] =>
  request.kind === "task" ? request.parts.map((part) => part.task.args) : [];
export const argsOf = (arrived: Arrived): Json[] => argsOfAll(arrived)[0] ?? [];
export const commandOf = ({ request }: Arrived): Control["command"] | null =>
  request.kind === "control" ? request.control.command : null;

/** Waits for the message that cancels a request. */
export const cancelOf = async (router: HandRouter, { serial }: Arrived): Promise<void> => {
  const { request } = await router.next();
  if (request.kind !== "cancel" || request.meta.serial !== serial) {
    throw new Error(`not the cancellation of ${serial}: ${JSON.stringify(request)}`);
  }
};

/** Binds a port anew: libzmq gives it back a little after its socket was closed. */
export const untilFree = async <Result>(bind: () => Result): Promise<Result> => {
  for (;;) {
    try {
      return bind();
    } catch (error) {
      if (!(error instanceof ZmqError) || error.code !== errno.EADDRINUSE) throw error;
      await Bun.sleep(5);
    }
  }
};
