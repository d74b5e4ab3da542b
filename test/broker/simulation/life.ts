/** What `$engine/jobs` tells of each job, against what its requestor was told. */

import type { Effect } from "../../../src/broker/events.ts";
import { ProtocolError } from "../../../src/protocol/errors.ts";
import { decodeReply } from "../../../src/protocol/replies.ts";
import { asReceived } from "../../support/frames.ts";
import { check } from "./ledger.ts";
import { gateway, persons } from "./rights.ts";
import type { ListedJob } from "./router.ts";

type EventEffect = Extract<Effect, { readonly to: "event" }>;

/** A request of which every job was accepted while events were made. */
interface Seen {
  readonly key: string;
  jobs: number;
  readonly codes: (string | null)[];
}

/** By the connection: events name the person for whom a gateway asks. */
const requestKey = (requestor: unknown, serial: unknown): string =>
  `${persons.some(({ name }) => name === requestor) ? gateway : requestor} ${serial}`;

export class Life {
  /** Somebody follows the engine's topics. */
  #isWatched = false;
  /** The jobs that were accepted since then and have not ended, by their id. */
  readonly #open = new Map<string, Seen>();
  readonly #requests = new Map<string, Seen>();
  /** The codes of jobs that have ended, by their ids; those of this router alone. */
  readonly #ended = new Map<string, string | null>();
  #endedHere = new Map<string, string | null>();

  /** Jobs that must still end. */
  get open(): number {
    return this.#open.size;
  }

  /** The router has died. */
  routerDied(): void {
    this.#forget();
    this.#endedHere = new Map();
  }

  /** What the router lists: each job once, and each that has ended by its one end. */
  compareHistory(jobs: readonly ListedJob[]): void {
    const listed = new Map(jobs.map((job) => [job.job, job]));
    check(listed.size === jobs.length, `${jobs.length - listed.size} jobs are listed twice`);
    for (const [id, code] of this.#endedHere) {
      const job = listed.get(id);
      check(job?.ended !== null && job?.code === code, `job ${id} has ended by ${code}, and is listed as ${job?.code}`);
    }
    for (const id of this.#open.keys()) {
      check((listed.get(id)?.ended ?? null) === null, `job ${id} is listed as ended, and has not ended`);
    }
  }

  #forget(): void {
    this.#isWatched = false;
    this.#open.clear();
    this.#requests.clear();
  }

  /** All that the broker wants at one time. */
  take(effects: readonly Effect[]): void {
    const ends: Seen[] = [];
    for (const effect of effects) {
      if (effect.to === "supervisor" && effect.type === "watchLog") {
        this.#forget();
        this.#isWatched = effect.isWatched;
      } else if (effect.to === "event") this.#hear(effect, ends);
    }
    if (this.#isWatched) this.#compare(effects, ends);
  }

  #hear(effect: EventEffect, ends: Seen[]): void {
    check(this.#isWatched, `an event of ${effect.topic}, which nobody follows`);
    if (effect.topic !== "$engine/jobs") return;
    const { event, job, serial, requestor, code } = JSON.parse(effect.body).data;
    check(!this.#ended.has(job), `job ${job} is ${event} after its end`);
    if (event === "accepted") {
      check(!this.#open.has(job), `job ${job} is accepted twice`);
      const key = requestKey(requestor, serial);
      const before = this.#requests.get(key);
      // A serial may come again once its request is answered.
      const seen = before !== undefined && before.codes.length < before.jobs ? before : { key, jobs: 0, codes: [] };
      seen.jobs++;
      this.#requests.set(key, seen);
      this.#open.set(job, seen);
    } else if (event === "ended") {
      this.#ended.set(job, code);
      this.#endedHere.set(job, code);
      const seen = this.#open.get(job);
      this.#open.delete(job);
      // Without a serial it was answered before its end, or nobody could tell it from others.
      if (seen === undefined || serial === "" || /^(absent|durable)-/.test(String(serial))) return;
      seen.codes.push(code);
      if (seen.codes.length === seen.jobs) ends.push(seen);
    }
  }

  /** A request whose last job has ended is answered at the same time, by the same codes. */
  #compare(effects: readonly Effect[], ends: readonly Seen[]): void {
    if (ends.length === 0) return;
    const replies = effects.flatMap((effect) => {
      const reply = effect.to === "requestor" ? decodeReply(asReceived(effect.frames)) : null;
      if (reply === null || reply instanceof ProtocolError || effect.to !== "requestor") return [];
      const key = requestKey(effect.requestor.peer, reply.meta.serial);
      if (reply.kind === "batch") {
        const codes = reply.parts.map((part) => ("error" in part ? part.error.code : null));
        return [{ key, codes }];
      }
      return [{ key, codes: [reply.kind === "error" ? reply.error.code : null] }];
    });
    for (const { key, codes } of ends) {
      const told = String([...codes].sort());
      const isTold = replies.some((reply) => reply.key === key && String([...reply.codes].sort()) === told);
      check(isTold, `${key}: its jobs have ended by ${told}, and its requestor was not told so`);
    }
  }
}
