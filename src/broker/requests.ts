/**
 * The requests that wait for their replies. Each gets exactly one terminal reply, a batch when its
 * last part has ended. A request is found by its requestor and serial.
 */
import { batchResultBytesMax, bytesPerClientMax, jobsPerClientMax, progressIntervalMs } from "../limits.ts";
import type { Requestor } from "../protocol/envelope.ts";
import type { ErrorBody } from "../protocol/errors.ts";
import { asBuffer, type Frame, sizeOf } from "../protocol/frame.ts";
import { encodeData, encodeError } from "../protocol/frames.ts";
import {
  type AcceptedJob,
  encodeBinaryMeta,
  encodeReplyMeta,
  partFromError,
  type ReplyType,
  refusalOfBinary,
} from "../protocol/replies.ts";
import type { BinaryType } from "../protocol/values.ts";
import { Shares } from "../security/shares.ts";
import { Multimap } from "./collections.ts";
import type { Effect } from "./events.ts";
import { personOf } from "./job.ts";
import { failure, type JobOutcome } from "./outcome.ts";
import type { BrokerState, Job, OpenRequest, RequestorEntry, RequestSender } from "./state.ts";

type SenderKey = Pick<RequestSender, "requestor" | "user">;

export class Requests {
  readonly #requestors: BrokerState["requestors"] = new Map();
  readonly #guarded: BrokerState["guarded"] = new Multimap();
  readonly #shares = new Shares({ jobs: jobsPerClientMax, bytes: bytesPerClientMax });
  /** Bytes of the incomplete replies to batches. */
  #resultBytes = 0;
  /** The last sender often sends the next request too: its key need not be made again. */
  #last: (SenderKey & { readonly entry: RequestorEntry }) | null = null;

  /** @param routerId META's `id` of the router's own answers */
  constructor(readonly routerId: string) {}

  /**
   * Opens a request, or returns the reason why not: its serial is in use, or its client has too
   * much in flight.
   * @param deadmanMs longest silence of the requestor; Infinity for no limit
   * @param isDetached ACCEPTED is its reply, and its serial is free again
   */
  open(
    sender: RequestSender,
    parts: number,
    bytes: number,
    deadmanMs: number,
    now: number,
    isDetached = false,
  ): OpenRequest | ErrorBody {
    const { requestor, user, meta } = sender;
    const { serial } = meta;
    const entry = serial === undefined ? null : this.#entryOf(sender);
    if (serial !== undefined && entry?.requests.has(serial) === true) {
      const message = `META.serial: ${JSON.stringify(serial)} is the serial of a request that is not answered yet`;
      return { code: "BAD_FRAME", message };
    }
    const share = this.#shares.take(requestor.peer, personOf(sender), parts, bytes);
    if (typeof share === "string") return { code: "QUEUE_FULL", message: share };
    const request: OpenRequest = {
      requestor,
      user,
      meta,
      isDetached,
      entry: isDetached ? null : entry,
      share,
      parts,
      bytes,
      jobs: parts > 1 ? new Array<undefined>(parts).fill(undefined) : [undefined],
      results: parts > 1 ? new Array<undefined>(parts).fill(undefined) : [],
      resultBytes: 0,
      left: parts,
      progressAt: now,
      aliveAt: now,
      deadmanMs,
    };
    if (serial !== undefined && entry !== null && !isDetached) {
      if (entry.requests.size === 0) this.#requestors.set(entry.key, entry);
      entry.requests.set(serial, request);
    }
    if (deadmanMs < Number.POSITIVE_INFINITY) this.#guarded.add(requestor.peer, request);
    return request;
  }

  /** Requests of one connection that have a dead man. */
  guardedOf(peer: string): readonly OpenRequest[] {
    return [...this.#guarded.get(peer)];
  }

  find(sender: SenderKey, serial: string): OpenRequest | undefined {
    return this.#entryOf(sender).requests.get(serial);
  }

  /** Requests of all requestors: a serial is unique for each of them only. */
  findAll(serial: string): OpenRequest[] {
    return [...this.#requestors.values()].flatMap(({ requests }) => requests.get(serial) ?? []);
  }

  /** A job has ended: sends the reply if the request is complete. */
  settle(job: Job, outcome: JobOutcome, now: number): Effect[] {
    const { request } = job;
    if (request === null) return [];
    request.left--;
    request.jobs[job.part] = undefined;
    if (request.results.length === 0) {
      if (!request.isDetached) return [this.answer(request, outcome)];
      this.#close(request);
      return [];
    }
    const body = outcome.type === "ACK" ? outcome.body : partFromError(outcome.body);
    request.results[job.part] = this.#withinBound(request, body);
    if (request.left > 0) return this.#progressOfBatch(request, now);
    this.#close(request);
    const meta = encodeReplyMeta(this.routerId, "ACK", request.meta.version, request.meta.serial);
    return [{ to: "requestor", requestor: request.requestor, frames: [meta, ...(request.results as Frame[])] }];
  }

  /** The one reply to a request that is no batch. */
  answer(request: OpenRequest, outcome: JobOutcome): Effect {
    request.left = 0;
    this.#close(request);
    return this.tell(request, outcome);
  }

  /** A job of a detached request does not come to be: its share is free again. */
  release(job: Job): void {
    if (job.request !== null) this.#close(job.request);
    job.request = null;
  }

  /** A terminal reply to a request that is not open. */
  tell(sender: RequestSender, outcome: JobOutcome): Effect {
    return outcome.contentType === undefined
      ? reply(sender, outcome.type, outcome.by, outcome.body)
      : binaryReply(sender, outcome, outcome.contentType);
  }

  /** The terminal reply to a request of a detached job. */
  accepted(sender: RequestSender, job: AcceptedJob): Effect {
    return reply(sender, "ACCEPTED", this.routerId, encodeData(job));
  }

  /** The terminal reply to a request that has waited for a job in vain. */
  acceptedStill(request: OpenRequest, job: AcceptedJob): Effect {
    request.left = 0;
    this.#close(request);
    return this.accepted(request, job);
  }

  progress(job: Job, by: string, body: Frame): Effect[] {
    const { request } = job;
    // Version 0.1 has no progress, and that of a batch counts its parts instead.
    if (request === null || request.meta.version === 0.1 || request.results.length > 0 || request.isDetached) return [];
    return [reply(request, "PROGRESS", by, body)];
  }

  /** Tells the requestor how often it has to send KEEPALIVE. */
  askKeepAlive(request: OpenRequest): Effect {
    return reply(request, "KEEPALIVE", this.routerId, encodeData({ deadmanMs: request.deadmanMs }));
  }

  refuse(sender: RequestSender, { code, message }: ErrorBody): Effect {
    return reply(sender, "ERR", this.routerId, encodeError(code, message));
  }

  acknowledge(sender: RequestSender, body?: Frame): Effect {
    return reply(sender, "ACK", this.routerId, body);
  }

  #withinBound(request: OpenRequest, body: Frame): Frame {
    const bytes = sizeOf(body);
    if (this.#resultBytes + bytes > batchResultBytesMax) {
      const excess = `the results of unfinished batches would exceed ${batchResultBytesMax} bytes`;
      return partFromError(encodeError("TOO_LARGE", `${excess}; ask for less at once`));
    }
    request.resultBytes += bytes;
    this.#resultBytes += bytes;
    return body;
  }

  #progressOfBatch(request: OpenRequest, now: number): Effect[] {
    if (now - request.progressAt < progressIntervalMs) return [];
    request.progressAt = now;
    const { parts, left } = request;
    return [reply(request, "PROGRESS", this.routerId, encodeData({ done: parts - left, total: parts }))];
  }

  #close(request: OpenRequest): void {
    if (request.deadmanMs < Number.POSITIVE_INFINITY) this.#guarded.delete(request.requestor.peer, request);
    this.#resultBytes -= request.resultBytes;
    this.#shares.release(request.share, request.parts, request.bytes);
    const { entry, meta } = request;
    if (entry === null || meta.serial === undefined) return;
    entry.requests.delete(meta.serial);
    if (entry.requests.size === 0) this.#requestors.delete(entry.key);
  }

  /** The entry of a requestor is in the table only while it has open requests. */
  #entryOf({ requestor, user }: SenderKey): RequestorEntry {
    if (this.#last?.requestor === requestor && this.#last.user === user) return this.#last.entry;
    const key = keyOf(requestor, user);
    const entry = this.#requestors.get(key) ?? { key, requests: new Map() };
    this.#last = { requestor, user, entry };
    return entry;
  }
}

const reply = (
  { requestor, meta }: Pick<RequestSender, "requestor" | "meta">,
  type: ReplyType,
  by: string,
  body?: Frame,
): Effect => {
  const head = encodeReplyMeta(by, type, meta.version, meta.serial);
  // An ACK of version 0.1 is META alone, without the result.
  const isBare = body === undefined || (type === "ACK" && meta.version === 0.1);
  return { to: "requestor", requestor, frames: isBare ? [head] : [head, body] };
};

/** A binary result, or its refusal where the requestor could not read it. */
export const deliverable = ({ request }: Job, outcome: JobOutcome, contentType: BinaryType): JobOutcome => {
  const refusal = request === null ? null : refusalOfBinary(contentType, request.meta.version, request.parts);
  return refusal === null ? outcome : failure(outcome.by, "TASK_ERROR", refusal);
};

/** `deliverable` has seen that the requestor can read it, or reads no result. */
const binaryReply = (request: RequestSender, { by, body }: JobOutcome, contentType: BinaryType): Effect => {
  const { requestor, meta } = request;
  if (meta.version === 0.1) return reply(request, "ACK", by);
  return { to: "requestor", requestor, frames: [encodeBinaryMeta(by, contentType, meta.serial), body] };
};

/**
 * The length of each part is in the key, so that no two addresses are confused. Peers choose their
 * routing ids, so one could take that of another: the user, whose name has no space, is in the key
 * too.
 */
const keyOf = ({ peer, envelope }: Requestor, user: string | null): string => {
  const hops = envelope.map((frame) => (typeof frame === "string" ? frame : asBuffer(frame).toString("latin1")));
  return `${user ?? ""} ${[peer, ...hops].map((part) => `${part.length}:${part}`).join("")}`;
};
