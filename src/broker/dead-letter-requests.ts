/** Dead letters as people handle them: CONTROL `retry` and `discard`. */
import type { ErrorBody } from "../protocol/errors.ts";
import { type Frame, sizeOf, textOf } from "../protocol/frame.ts";
import { encodeData } from "../protocol/frames.ts";
import { decodeTaskFrame } from "../protocol/requests.ts";
import type { Effect } from "./events.ts";
import { createJob, isDurable, isStoppable } from "./job.ts";
import type { JobLifecycle } from "./lifecycle.ts";
import type { DeadLetter, Draft, Job, RequestSender } from "./state.ts";
import type { Tables } from "./tables.ts";
import { refusalOfOptions } from "./unattended.ts";
import { hashOfArguments } from "./unique-jobs.ts";

export class DeadLetterRequests {
  constructor(
    private readonly tables: Tables,
    private readonly lifecycle: JobLifecycle,
  ) {}

  /**
   * Makes a new job of a dead letter, as durable as that was. The letter goes once the new job is
   * on the disk: a crash in between leaves both.
   * @param isConfirmed whoever asks knows that it may move something
   */
  retry(sender: RequestSender, id: string, isConfirmed: boolean, now: number): Effect[] {
    const letter = this.#find(id, now);
    if ("code" in letter) return this.#refuse(sender, letter);
    const { job: dead } = letter;
    const known = this.tables.directory.find(dead.name);
    if (known === undefined) return this.#refuse(sender, this.tables.directory.whyMissing(dead.name));
    const draft: Draft = { ...draftOf(dead), queue: known.queue, policy: known.policy };
    const refusal = this.#refusalOf(draft, id, isConfirmed, now);
    if (refusal !== null) return this.#refuse(sender, refusal);
    const { ids, requests, unique } = this.tables;
    const job: Job = {
      ...createJob(draft, this.tables.nextJobId(), { request: null, part: 0 }, now),
      origin: dead.origin,
    };
    letter.successor = ids.idOf(job.id);
    const part = decodeTaskFrame(draft.body);
    if ("task" in part) unique.add(job, hashOfArguments(part));
    return this.lifecycle.durable.accept(job, (failure) => {
      if (failure !== null) {
        letter.successor = null;
        return this.#refuse(sender, failure);
      }
      this.lifecycle.durable.discard(dead, () => []);
      return [requests.acknowledge(sender, encodeData({ job: ids.idOf(job.id) }))];
    });
  }

  discard(sender: RequestSender, id: string, now: number): Effect[] {
    const letter = this.#find(id, now);
    if ("code" in letter) return this.#refuse(sender, letter);
    this.lifecycle.durable.discard(letter.job, (failure) =>
      failure === null
        ? [this.tables.requests.acknowledge(sender, encodeData({ discarded: 1 }))]
        : this.#refuse(sender, { code: "STORE_FULL", message: `the journal cannot note it: ${failure}` }),
    );
    return [];
  }

  #find(id: string, now: number): DeadLetter | ErrorBody {
    const { blocks, dead, ids, journal } = this.tables;
    if (blocks.closed !== null) return blocks.closed;
    const letter = dead.find(ids.numberOf(id) ?? 0);
    const unknown = `no dead letter ${JSON.stringify(id)} is known; \`task-engine jobs --dead\` lists those that are`;
    if (letter === undefined) return { code: "UNKNOWN_JOB", message: unknown };
    if (letter.successor !== null) return { code: "UNKNOWN_JOB", message: `${id} is retried as ${letter.successor}` };
    return journal.whyClosed(letter.job.bytes, now) ?? letter;
  }

  #refusalOf(draft: Draft, id: string, isConfirmed: boolean, now: number): ErrorBody | null {
    const { blocks, queues, unique } = this.tables;
    const { name, policy } = draft;
    const refusal = refusalOfOptions(draft, 1) ?? blocks.quarantineOf(draft);
    if (refusal !== null) return refusal;
    if (!isDurable(draft)) return { code: "NOT_DURABLE", message: `${name} is not durable any more` };
    if (blocks.stopReason !== null && isStoppable(draft)) return blocks.stopReason;
    if (policy.moves !== false && !isConfirmed) {
      const how = `if that is safe, run task-engine retry ${id} --yes, or say \`"confirm": true\``;
      return { code: "UNCONFIRMED", message: `${name} may move something; ${how}` };
    }
    const other = unique.find(draft, now)?.job ?? null;
    if (other !== null) {
      return { code: "BAD_ARGS", message: `job ${this.tables.ids.idOf(other.id)} has its \`unique\` key already` };
    }
    if (queues.hasRoom(1, draft.bytes) && unique.hasRoom(now)) return null;
    return { code: "QUEUE_FULL", message: "the queue of the engine is full; ask again later" };
  }

  #refuse(sender: RequestSender, reason: ErrorBody): Effect[] {
    return [this.tables.requests.refuse(sender, reason)];
  }
}

/** As it was asked for, without a delay, which is over. */
const draftOf = ({ kind, name, queue, policy, body, options: { delayMs, notBefore, ...options } }: Job): Draft => {
  const frame = delayMs === undefined && notBefore === undefined ? body : withOptions(body, options);
  return { kind, name, queue, policy, body: frame, bytes: sizeOf(frame), options };
};

/** @param body a TASK frame that was checked when it came */
const withOptions = (body: Frame, options: Draft["options"]): string =>
  JSON.stringify({ ...JSON.parse(textOf(body)), options });
