/** Workers that join: who is admitted, as what, and what becomes of the connection that one of them had before. */
import { engineUser } from "../access/access.ts";
import { dataEndpointsMax, workersMax } from "../limits.ts";
import type { ReadyHeader } from "../wire/backend.ts";
import type { ErrorCode } from "../wire/errors.ts";
import { refusalOfWorker } from "../wire/rights.ts";
import type { Catalogue } from "./catalogue.ts";
import { type Effect, toWorker } from "./effects.ts";
import type { Jobs } from "./jobs.ts";
import type { Losses } from "./losses.ts";
import type { Reception } from "./reception.ts";
import type { Statistics } from "./statistics.ts";
import type { Workers } from "./workers.ts";

export class Enlistment {
  constructor(
    private readonly workers: Workers,
    private readonly jobs: Jobs,
    private readonly losses: Losses,
    private readonly catalogue: Catalogue,
    private readonly reception: Pick<Reception, "access">,
    private readonly statistics: Statistics,
  ) {}

  join(key: string, user: string | null, said: ReadyHeader, now: number): Effect[] {
    const refusal = refusalOfWorker(this.reception.access, user, said);
    if (refusal !== null) return this.refuse(key, said, "UNAUTHORIZED", refusal);
    // Only the engine's own have our supervisor; who else said so could have one of them killed in its place.
    const ready = user === null || user === engineUser ? said : { ...said, supervised: false };
    const known = this.workers.get(key);
    // Two WHO that crossed its READY bring a second one; it holds what it holds.
    if (known !== undefined && known.user === user && known.ready.pid === ready.pid)
      return [toWorker(key, { type: "WELCOME" })];
    const effects: Effect[] = [];
    // A process has one connection: the other one of a supervised worker is gone, whether we have heard so or not.
    for (const other of [...this.workers].filter(({ ready: its }) => isSameProcess(its, ready))) {
      const end = this.losses.reconnected(other, now);
      if (end !== false) return end;
      effects.push(...this.jobs.lose(other, "it has connected anew", now));
    }
    if (known !== undefined) effects.push(...this.jobs.lose(known, "another has its name", now));
    if (this.workers.size >= workersMax) {
      return [...effects, ...this.refuse(key, ready, "QUEUE_FULL", `there are ${workersMax} workers already`)];
    }
    if (ready.role === "data" && !this.catalogue.addDataEndpoint(ready.endpoint)) {
      const message = `there are ${dataEndpointsMax} endpoints of data workers already`;
      return [...effects, ...this.refuse(key, ready, "QUEUE_FULL", message)];
    }
    this.workers.add(key, user, ready, now);
    effects.push(toWorker(key, { type: "WELCOME" }));
    return effects;
  }

  refuse(key: string, { id }: ReadyHeader, code: ErrorCode, message: string): Effect[] {
    const effects = [toWorker(key, { type: "REFUSED", code, message })];
    if (this.statistics.drop("workerNotAdmitted") === 1) {
      const line = `worker ${id} is not admitted: ${message}; further ones are only counted`;
      effects.push({ to: "log", line });
    }
    return effects;
  }
}

const isSameProcess = (a: ReadyHeader, b: ReadyHeader): boolean =>
  a.supervised === true && b.supervised === true && a.pid === b.pid;
