/**
 * The robot as a NATS micro service (ADR-32 of NATS): it answers `$SRV.PING`, `INFO` and `STATS`,
 * so that `nats micro ls` shows it with its tasks and their schemas.
 */
import type { NatsConnection } from "@nats-io/transport-node";
import type { TaskListing } from "../client/client.ts";
import { linkTasksMax } from "../limits.ts";
import { subjectOf } from "../protocol/fleet.ts";
import type { EngineView } from "./engine-view.ts";
import type { Failure, Replies } from "./replies.ts";

const serviceName = "task-engine";

interface Counts {
  requests: number;
  errors: number;
  ms: number;
  lastError: string;
}

/** Requests by the names of tasks. */
export class ServiceCounts {
  readonly #counts = new Map<string, Counts>();

  add(task: string, ms: number, failure: Failure | null): void {
    let counts = this.#counts.get(task);
    if (counts === undefined) {
      // A stranger could fill the memory with names of tasks that do not exist.
      if (failure?.code === "UNKNOWN_TASK" || failure?.code === "UNAUTHORIZED") return;
      if (this.#counts.size >= linkTasksMax) return;
      counts = { requests: 0, errors: 0, ms: 0, lastError: "" };
      this.#counts.set(task, counts);
    }
    counts.requests++;
    counts.ms += ms;
    if (failure === null) return;
    counts.errors++;
    counts.lastError = `${failure.code}: ${failure.message}`;
  }

  of(task: string): Readonly<Counts> {
    return this.#counts.get(task) ?? { requests: 0, errors: 0, ms: 0, lastError: "" };
  }
}

interface ServiceOptions {
  readonly nats: NatsConnection;
  readonly robot: string;
  readonly groups: readonly string[];
  readonly version: string;
  readonly view: EngineView;
  readonly replies: Replies;
  readonly counts: ServiceCounts;
}

export class Service {
  readonly #options: ServiceOptions;
  readonly #base: object;
  readonly #started = new Date().toISOString();

  constructor(options: ServiceOptions) {
    this.#options = options;
    const { nats, robot, groups, version, replies } = options;
    const id = `${robot}-${crypto.randomUUID().slice(0, 8)}`;
    this.#base = { name: serviceName, id, version, metadata: { robot, groups: groups.join(",") } };
    const answers = { PING: () => this.#ping(), INFO: () => this.#info(), STATS: () => this.#stats() };
    for (const [verb, answer] of Object.entries(answers)) {
      for (const end of ["", `.${serviceName}`, `.${serviceName}.${id}`]) {
        nats.subscribe(`$SRV.${verb}${end}`, {
          callback: (error, message) => {
            if (error === null) replies.json(message.reply ?? "", answer());
          },
        });
      }
    }
  }

  #ping(): object {
    return { ...this.#base, type: "io.nats.micro.v1.ping_response" };
  }

  #info(): object {
    const description = "Runs tasks on a robot";
    const endpoints = this.#endpoints(({ schema }) => ({
      metadata: schema === undefined ? null : { schema: JSON.stringify(schema) },
    }));
    return { ...this.#base, type: "io.nats.micro.v1.info_response", description, endpoints };
  }

  #stats(): object {
    const { counts } = this.#options;
    const endpoints = this.#endpoints(({ name }) => {
      const { requests, errors, ms, lastError } = counts.of(name);
      const nanoseconds = Math.round(ms * 1e6);
      return {
        num_requests: requests,
        num_errors: errors,
        last_error: lastError,
        processing_time: nanoseconds,
        average_processing_time: requests === 0 ? 0 : Math.round(nanoseconds / requests),
      };
    });
    return { ...this.#base, type: "io.nats.micro.v1.stats_response", started: this.#started, endpoints };
  }

  #endpoints(more: (task: TaskListing) => object): object[] {
    const { robot, view } = this.#options;
    return [...view.tasks.values()].map((task) => ({
      name: task.name.replace(/[^A-Za-z0-9_-]/g, "_"),
      subject: `${subjectOf({ robot })}.tasks.${task.name}`,
      queue_group: "",
      ...more(task),
    }));
  }
}
