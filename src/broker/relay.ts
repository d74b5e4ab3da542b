/** What a worker sends while its jobs run, and goes on as it came: their progress, and what their tasks publish. */
import type { WorkerHeader } from "../protocol/backend.ts";
import type { Frame } from "../protocol/frame.ts";
import type { Effect } from "./effects.ts";
import { mistakeInData } from "./outcome.ts";
import type { RequestHandler } from "./request-handler.ts";
import type { Requests } from "./requests.ts";
import type { Statistics } from "./statistics.ts";
import type { Worker } from "./workers.ts";

type RelayedHeader = Extract<WorkerHeader, { type: "PROGRESS" | "PUBLISH" }>;

export class Relay {
  constructor(
    private readonly requests: Pick<Requests, "progress">,
    private readonly reception: Pick<RequestHandler, "publish">,
    private readonly statistics: Statistics,
  ) {}

  passOn(worker: Worker, header: RelayedHeader, body: Frame, now: number): Effect[] {
    // A worker of the engine's own has encoded it by the very code that would check it here.
    const mistake = worker.ready.supervised === true ? null : mistakeInData(body);
    if (mistake !== null) return this.#drop(worker, header, mistake);
    if (header.type === "PUBLISH") {
      const { topic, task } = header;
      const publisher = `${task === undefined ? "" : `task ${task} of `}worker ${worker.ready.id}`;
      return this.reception.publish(worker.user, publisher, topic, body, now);
    }
    const held = worker.held.get(header.job);
    if (held !== undefined) return this.requests.progress(held.job, worker.ready.id, body);
    this.statistics.drop("progressOfNoJob");
    return [];
  }

  #drop({ ready }: Worker, { type }: RelayedHeader, mistake: string): Effect[] {
    if (this.statistics.drop("workersMessage") > 1) return [];
    const line = `Dropped a message of worker ${ready.id}: ${type}: ${mistake}; further ones are only counted`;
    return [{ to: "log", line }];
  }
}
