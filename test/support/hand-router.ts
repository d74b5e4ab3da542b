/** A real ROUTER socket that a test answers by hand: `await using engine = handRouter()`. */

import type { ErrorCode } from "../../src/wire/errors.ts";
import { encodeData, encodeError, packNow } from "../../src/wire/frames.ts";
import type { Json } from "../../src/wire/json.ts";
import { encodeReplyMeta, type PartResult, type ReplyType } from "../../src/wire/replies.ts";
import { type Control, decodeRequest, type Request } from "../../src/wire/requests.ts";
import { errno, ZmqError } from "../../src/zmq/library.ts";
import { type Frame, Router } from "../../src/zmq/socket.ts";

export interface Arrived {
  readonly request: Request;
  readonly serial: string;
  /** Sends frames back, without envelope, as they are. */
  send(...frames: (Uint8Array | string)[]): void;
  /** META alone. */
  acknowledge(): void;
  ack(data: Json): void;
  /** The answer to a batch. */
  ackAll(parts: readonly PartResult[]): void;
  progress(data: Json): void;
  /** Wishes for KEEPALIVEs. */
  wish(deadmanMs: number): void;
  refuse(code: ErrorCode, message: string): void;
}

export class HandRouter implements Disposable {
  readonly #socket = new Router({ linger: 0 });
  readonly endpoint: string;

  constructor(endpoint: string) {
    this.#socket.bind(endpoint);
    this.endpoint = this.#socket.lastEndpoint;
  }

  /** The next request; one that is not understood fails the test. Pings, by which a client finds us, are answered on the way. */
  async next(): Promise<Arrived> {
    for (;;) {
      const arrived = this.#understand(await this.#socket.receive());
      if (arrived.request.kind !== "ping") return arrived;
      arrived.acknowledge();
    }
  }

  /** Whether a request has come that nobody has taken with `next` yet. */
  get hasMore(): boolean {
    return this.#socket.readable;
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
  }

  #understand([identity, delimiter, ...frames]: Frame[]): Arrived {
    const request = decodeRequest(frames);
    if (identity === undefined || delimiter?.length !== 0 || request.kind === "bad") {
      throw new Error(`the client sent nonsense: ${frames.map(String)}`);
    }
    const { serial } = request.meta;
    const send = (...reply: (Uint8Array | string)[]): void => {
      if (!this.#socket.closed) this.#socket.trySend([identity, "", ...reply]);
    };
    const meta = (type: ReplyType): string => encodeReplyMeta("TASK-1", type, 0.2, serial);
    return {
      request,
      serial: serial ?? "",
      send,
      acknowledge: () => send(meta("ACK")),
      ack: (data) => send(meta("ACK"), encodeData({ data, pack: packNow() })),
      ackAll: (parts) => send(meta("ACK"), ...parts.map((part) => JSON.stringify({ ...part, pack: packNow() }))),
      progress: (data) => send(meta("PROGRESS"), encodeData({ data, pack: packNow() })),
      wish: (deadmanMs) => send(meta("KEEPALIVE"), encodeData({ data: { deadmanMs }, pack: packNow() })),
      refuse: (code, message) => send(meta("ERR"), encodeError(code, message)),
    };
  }
}

export const handRouter = (endpoint = "tcp://127.0.0.1:*"): HandRouter => new HandRouter(endpoint);

/** The arguments of each part of a batch, of a task request, the command of a CONTROL. */
export const argsOfAll = ({ request }: Arrived): Json[][] =>
  request.kind === "task" ? request.parts.map(({ task }) => task.args) : [];
export const argsOf = ({ request }: Arrived): Json[] =>
  request.kind === "task" ? (request.parts[0]?.task.args ?? []) : [];
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
