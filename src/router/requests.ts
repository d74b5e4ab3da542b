/**
 * The requests that wait for their answers: found by who asked and by serial, answered once, a batch when its last part has
 * ended. Exactly one terminal reply leaves for each.
 */
import { Shares } from "../access/shares.ts";
import { batchResultBytesMax, bytesPerClientMax, jobsPerClientMax, progressIntervalMs } from "../limits.ts";
import { type Requestor, rememberLast } from "../wire/envelope.ts";
import type { ErrorBody, ErrorCode } from "../wire/errors.ts";
import { type Frame, sizeOf } from "../wire/frame.ts";
import { encodeData, encodeError, type Meta, packNow } from "../wire/frames.ts";
import { asBuffer } from "../wire/json.ts";
import { encodeReplyMeta, partFromError } from "../wire/replies.ts";
import type { Effect } from "./effects.ts";
import type { Job, Request } from "./job.ts";
import { Multimap } from "./multimap.ts";
import type { Outcome } from "./outcome.ts";

/** Who asked, and under which version and serial the answer goes out. */
export interface Asked {
  readonly requestor: Requestor;
  /** The name that its key is known by; null where nobody is known. */
  readonly user: string | null;
  readonly meta: Pick<Meta, "version" | "serial">;
}

export class Requests {
  readonly #bySerial = new Map<string, Request>();
  /** Those that end when their requestor is gone, by the key of its connection. */
  readonly #guarded = new Multimap<string, Request>();
  readonly #shares = new Shares({ jobs: jobsPerClientMax, bytes: bytesPerClientMax });
  /** Of the results of all batches that are not complete. */
  #resultBytes = 0;

  constructor(
    /** Who answers where no worker does. */
    readonly routerId: string,
  ) {}

  /**
   * Or why not: that requestor has a request of that serial open already, or its client too much in flight.
   * @param deadmanMs how long its requestor may be quiet; Infinity for ever
   */
  open(asked: Asked, parts: number, bytes: number, deadmanMs: number, now: number): Request | ErrorBody {
    const { requestor, user, meta } = asked;
    const key = meta.serial === undefined ? null : keyOf(asked, meta.serial);
    if (key !== null && this.#bySerial.has(key)) {
      const message = `META.serial: ${JSON.stringify(meta.serial)} is the serial of a request that is not answered yet`;
      return { code: "BAD_FRAME", message };
    }
    const share = this.#shares.take(requestor.peer, user, parts, bytes);
    if (typeof share === "string") return { code: "QUEUE_FULL", message: share };
    const request: Request = {
      requestor,
      user,
      meta,
      key,
      parts,
      bytes,
      share,
      jobs: parts > 1 ? new Array<undefined>(parts).fill(undefined) : [undefined],
      results: parts > 1 ? new Array<undefined>(parts).fill(undefined) : [],
      resultBytes: 0,
      left: parts,
      progressAt: now,
      aliveAt: now,
      deadmanMs,
    };
    if (key !== null) this.#bySerial.set(key, request);
    if (deadmanMs < Number.POSITIVE_INFINITY) this.#guarded.add(requestor.peer, request);
    return request;
  }

  /** Those that end when this peer is gone. @param peer key of its connection */
  guardedOf(peer: string): readonly Request[] {
    return [...this.#guarded.get(peer)];
  }

  /** How many connections have such. */
  get guardedPeers(): number {
    return this.#guarded.size;
  }

  find(asked: Pick<Asked, "requestor" | "user">, serial: string): Request | undefined {
    return this.#bySerial.get(keyOf(asked, serial));
  }

  /** Of all requestors: serials are only unique for each. */
  findAll(serial: string): Request[] {
    return [...this.#bySerial.values()].filter((request) => request.meta.serial === serial);
  }

  /** Takes a job's end; gives the reply if the request is complete by it. */
  settle(job: Job, outcome: Outcome, now: number): Effect[] {
    const { request } = job;
    if (request === null) return [];
    request.left--;
    request.jobs[job.part] = undefined;
    if (request.results.length === 0) {
      this.#close(request);
      return [reply(request, outcome)];
    }
    const body = outcome.type === "ACK" ? outcome.body : partFromError(outcome.body);
    request.results[job.part] = this.#withinBound(request, body);
    if (request.left > 0) return this.#progressOfBatch(request, now);
    this.#close(request);
    const meta = encodeReplyMeta(this.routerId, "ACK", request.meta.version, request.meta.serial);
    return [{ to: "requestor", requestor: request.requestor, frames: [meta, ...(request.results as Frame[])] }];
  }

  progress(job: Job, by: string, body: Frame): Effect[] {
    const { request } = job;
    // v0.1 knows no progress, and a batch tells of its parts instead.
    if (request === null || request.meta.version === 0.1 || request.results.length > 0) return [];
    return [interimReply(request, "PROGRESS", by, body)];
  }

  /** Tells its requestor how often it has to say that it is there. */
  askKeepAlive(request: Request): Effect {
    const body = encodeData({ data: { deadmanMs: request.deadmanMs }, pack: packNow() });
    return interimReply(request, "KEEPALIVE", this.routerId, body);
  }

  refuse(asked: Asked, code: ErrorCode, message: string): Effect {
    return reply(asked, { type: "ERR", by: this.routerId, body: encodeError(code, message) });
  }

  acknowledge(asked: Asked, body?: Frame): Effect {
    return reply(asked, { type: "ACK", by: this.routerId, body });
  }

  #withinBound(request: Request, body: Frame): Frame {
    const bytes = sizeOf(body);
    if (this.#resultBytes + bytes > batchResultBytesMax) {
      const message = `the results of unfinished batches would exceed ${batchResultBytesMax} bytes; ask for less at once`;
      return partFromError(encodeError("TOO_LARGE", message));
    }
    request.resultBytes += bytes;
    this.#resultBytes += bytes;
    return body;
  }

  #progressOfBatch(request: Request, now: number): Effect[] {
    if (now - request.progressAt < progressIntervalMs) return [];
    request.progressAt = now;
    const total = request.results.length;
    const body = encodeData({ data: { done: total - request.left, total }, pack: packNow() });
    return [interimReply(request, "PROGRESS", this.routerId, body)];
  }

  #close(request: Request): void {
    if (request.deadmanMs < Number.POSITIVE_INFINITY) this.#guarded.delete(request.requestor.peer, request);
    this.#resultBytes -= request.resultBytes;
    this.#shares.release(request.share, request.parts, request.bytes);
    if (request.key !== null) this.#bySerial.delete(request.key);
  }
}

const reply = (
  { requestor, meta }: Pick<Asked, "requestor" | "meta">,
  { type, by, body }: Pick<Outcome, "type" | "by"> & { readonly body?: Frame | undefined },
): Effect => {
  const head = encodeReplyMeta(by, type, meta.version, meta.serial);
  // A v0.1 requestor gets an acknowledgement alone, without the result.
  const isBare = body === undefined || (type === "ACK" && meta.version === 0.1);
  return { to: "requestor", requestor, frames: isBare ? [head] : [head, body] };
};

/** Not the last word on a request. */
const interimReply = (
  { requestor, meta }: Pick<Asked, "requestor" | "meta">,
  type: "PROGRESS" | "KEEPALIVE",
  by: string,
  body: Frame,
): Effect => ({
  to: "requestor",
  requestor,
  frames: [encodeReplyMeta(by, type, meta.version, meta.serial), body],
});

/**
 * With the length of each part, so that no two addresses can be confused. Routing ids are chosen by peers, so that one could take
 * another's: the user is part of it, whose name has no space.
 */
const keyOf = ({ requestor, user }: Pick<Asked, "requestor" | "user">, serial: string): string =>
  `${user ?? ""} ${addressOf(requestor)} ${serial}`;

const addressOf = rememberLast(({ peer, envelope }: Requestor): string => {
  const [, ...hops] = envelope.map((frame) => asBuffer(frame).toString("latin1"));
  return [peer, ...hops].map((part) => `${part.length}:${part}`).join("");
});
