/** The tasks of the engine and of other workers, and the data workers of topics. */
import { dataEndpointsMax } from "../limits.ts";
import { ownerOf } from "../protocol/owner.ts";
import type { ArgumentSchema, Policy } from "../protocol/policy.ts";
import type { NamedPolicy, UnavailableTasks } from "./events.ts";
import { dataQueue, taskQueue } from "./job.ts";
import type { BrokerState, DataPorts, EndReason, TaskEntry } from "./state.ts";
import type { Workers } from "./workers.ts";

const entryOf = (name: string, policy: Policy): TaskEntry => ({ name, queue: taskQueue(name), policy });

/** The policy by which all jobs of a task run, and its source, for people. */
export interface PolicyInForce {
  readonly policy: Policy;
  readonly by: string;
}

export class TaskDirectory {
  readonly #own: BrokerState["tasks"] = new Map();
  #unavailable: UnavailableTasks | null = null;
  readonly #schemas: BrokerState["schemas"] = new Map();
  /** Those that have been there, by their endpoints of publications. */
  readonly #dataWorkers: BrokerState["dataWorkers"] = new Map();

  constructor(private readonly workers: Workers) {}

  /** The tasks of the engine, which its workers serve or will serve soon. */
  setOwn(tasks: readonly NamedPolicy[], unavailable: UnavailableTasks | null = null): void {
    this.#unavailable = unavailable;
    this.#own.clear();
    this.workers.forgetGone();
    this.#schemas.clear();
    for (const { name, schema, ...policy } of tasks) {
      this.#own.set(name, entryOf(name, policy));
      if (schema !== undefined) this.#schemas.set(name, schema);
    }
  }

  /** Jobs of an earlier engine may be in the journal. */
  get hasDurable(): boolean {
    return [...this.#own.values()].some(({ policy }) => policy.durable === true);
  }

  isOwn(task: string): boolean {
    return this.#own.has(task);
  }

  /** Returns false if there are too many. */
  addDataWorker(ports: DataPorts): boolean {
    const { publications } = ports;
    if (this.#dataWorkers.size >= dataEndpointsMax && !this.#dataWorkers.has(publications)) return false;
    this.#dataWorkers.set(publications, ports);
    return true;
  }

  get dataWorkers(): readonly DataPorts[] {
    return [...this.#dataWorkers.values()];
  }

  find(task: string): TaskEntry | undefined {
    // The task files come first: workers that are being replaced still say what they said before.
    const own = this.#own.get(task);
    if (own !== undefined) return own;
    const served = this.inForce(task);
    return served === undefined ? undefined : entryOf(task, served.policy);
  }

  /** The policy of the task files, or that of the first of the workers that serve the task. */
  inForce(task: string): PolicyInForce | undefined {
    const own = this.#own.get(task);
    if (own !== undefined) return { policy: own.policy, by: "the engine's own tasks" };
    const [first] = this.workers.serving(taskQueue(task));
    const policy = first?.policies.get(task);
    return first === undefined || policy === undefined ? undefined : { policy, by: `worker ${first.ready.id}` };
  }

  /** Schemas of the arguments of a task: of the task files, or of the first of its workers. */
  schemaOf(name: string): ArgumentSchema | undefined {
    if (this.#own.has(name)) return this.#schemas.get(name);
    const [first] = this.workers.serving(taskQueue(name));
    const task = first?.ready.tasks.find((it) => typeof it === "object" && it.name === name);
    return typeof task === "object" ? task.schema : undefined;
  }

  /** Why `find` does not find a task. */
  whyMissing(task: string): EndReason {
    if (this.#unavailable?.names.includes(task)) {
      return { code: "UNAVAILABLE", message: `${task} cannot be run here: ${this.#unavailable.why}` };
    }
    const gone = this.workers.goneOf(task);
    if (gone === undefined) {
      const message = `no task ${JSON.stringify(task)} is registered; \`task-engine tasks\` lists those that are`;
      return { code: "UNKNOWN_TASK", message };
    }
    const last = `the last, ${gone.worker}, is gone (${gone.why}); start it again`;
    return { code: "UNAVAILABLE", message: `no worker serves ${task} at present: ${last}` };
  }

  get taskNames(): string[] {
    return [...new Set([...this.#own.keys(), ...this.workers.tasks])].sort();
  }

  /** A data worker has left for good; its topics are others' now. */
  forgetDataWorker(publications: string): void {
    if (this.#dataWorkers.size > 1) this.#dataWorkers.delete(publications);
  }

  /** The data workers that share the topics: those that are there, or all where none is. */
  get owners(): readonly DataPorts[] {
    const all = this.dataWorkers;
    if (all.length <= 1) return all;
    const there = all.filter(({ publications }) =>
      this.workers.serving(dataQueue(publications)).some(({ retired }) => retired === null),
    );
    return there.length > 0 ? there : all;
  }

  /**
   * The queue of a topic; undefined without a data worker. By rendezvous hashing a topic keeps its
   * data worker while that one is there, so that its values stay in order and its newest value is
   * found.
   */
  topicQueue(topic: string): string | undefined {
    const owner = ownerOf(
      topic,
      this.owners.map(({ publications }) => publications),
    );
    return owner === undefined ? undefined : dataQueue(owner);
  }
}
