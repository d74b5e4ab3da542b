/**
 * The requests that wait for their answers: found by who asked and by serial, answered once, a batch when its last part has
 * ended. Exactly one terminal reply leaves for each.
 */

import { batchResultBytesMax, bytesPerClientMax, jobsPerClientMax, progressIntervalMs } from "../limits.ts";
import type { Requestor } from "../protocol/envelope.ts";
import type { ErrorBody, ErrorCode } from "../protocol/errors.ts";
import { type Frame, sizeOf } from "../protocol/frame.ts";
import { encodeData, encodeError, type Meta } from "../protocol/frames.ts";
import { asBuffer } from "../protocol/json.ts";
import { encodeReplyMeta, partFromError } from "../protocol/replies.ts";
import { Shares } from "../security/shares.ts";
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

/** One of those who have open requests with serials. */
export interface Asker {
  /** Who it is, and where: what tells it from all others. */
  readonly key: string;
  /** By their serials. */
  readonly requests: Map<string, Request>;
}

export class Requests {
  readonly #askers = new Map<string, Asker>();
  /** Requests of one come in rows: its key is made once for each. */
  #last: { readonly requestor: Requestor; readonly user: string | null; readonly asker: Asker } | null = null;
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
    const { serial } = meta;
    const asker = serial === undefined ? null : this.#askerOf(asked);
    if (serial !== undefined && asker?.requests.has(serial) === true) {
      const message = `META.serial: ${JSON.stringify(serial)} is the serial of a request that is not answered yet`;
      return { code: "BAD_FRAME", message };
    }
    const share = this.#shares.take(requestor.peer, user, parts, bytes);
    if (typeof share === "string") return { code: "QUEUE_FULL", message: share };
    const request: Request = {
      requestor,
      user,
      meta,
      asker,
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
    if (serial !== undefined && asker !== null) {
      if (asker.requests.size === 0) this.#askers.set(asker.key, asker);
      asker.requests.set(serial, request);
    }
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
    return this.#askerOf(asked).requests.get(serial);
  }

  /** Of all requestors: serials are only unique for each. */
  findAll(serial: string): Request[] {
    return [...this.#askers.values()]
      .map(({ requests }) => requests.get(serial))
      .filter((found) => found !== undefined);
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
    const body = encodeData({ deadmanMs: request.deadmanMs });
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
    const body = encodeData({ done: total - request.left, total });
    return [interimReply(request, "PROGRESS", this.routerId, body)];
  }

  #close(request: Request): void {
    if (request.deadmanMs < Number.POSITIVE_INFINITY) this.#guarded.delete(request.requestor.peer, request);
    this.#resultBytes -= request.resultBytes;
    this.#shares.release(request.share, request.parts, request.bytes);
    const { asker, meta } = request;
    if (asker === null || meta.serial === undefined) return;
    asker.requests.delete(meta.serial);
    if (asker.requests.size === 0) this.#askers.delete(asker.key);
  }

  /** One that has none open is kept by its first. */
  #askerOf({ requestor, user }: Pick<Asked, "requestor" | "user">): Asker {
    if (this.#last?.requestor === requestor && this.#last.user === user) return this.#last.asker;
    const key = keyOf(requestor, user);
    const asker = this.#askers.get(key) ?? { key, requests: new Map() };
    this.#last = { requestor, user, asker };
    return asker;
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
const keyOf = ({ peer, envelope }: Requestor, user: string | null): string => {
  const [, ...hops] = envelope.map((frame) => asBuffer(frame).toString("latin1"));
  return `${user ?? ""} ${[peer, ...hops].map((part) => `${part.length}:${part}`).join("")}`;
};
