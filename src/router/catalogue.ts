/** What can be asked for: the tasks, by the supervisor's word and the workers', and where the topics are. */
import { dataEndpointsMax } from "../limits.ts";
import type { Policy } from "../wire/policy.ts";
import { type Draft, dataQueue, taskQueue } from "./job.ts";
import { pickEndpoint } from "./placement.ts";
import type { Workers } from "./workers.ts";

export type KnownTask = { readonly name: string } & Policy;

/** What a task's jobs take from it. */
export type Entry = Pick<Draft, "name" | "queue" | "policy">;

const entryOf = (name: string, policy: Policy): Entry => ({ name, queue: taskQueue(name), policy });

export class Catalogue {
  readonly #expected = new Map<string, Entry>();
  /** Every data worker's endpoint since the start: its topics stay its own while it is being restarted. */
  readonly #dataEndpoints = new Set<string>();

  constructor(private readonly workers: Workers) {}

  /** Tasks that workers will serve once they are there. */
  expect(tasks: readonly KnownTask[]): void {
    this.#expected.clear();
    for (const { name, ...policy } of tasks) this.#expected.set(name, entryOf(name, policy));
  }

  /** False where there are too many. */
  addDataEndpoint(endpoint: string): boolean {
    if (this.#dataEndpoints.size >= dataEndpointsMax && !this.#dataEndpoints.has(endpoint)) return false;
    this.#dataEndpoints.add(endpoint);
    return true;
  }

  get dataEndpoints(): readonly string[] {
    return [...this.#dataEndpoints];
  }

  /** Undefined where there is no task of that name. */
  find(task: string): Entry | undefined {
    // The task files first: workers that are being replaced still have what they said before.
    const expected = this.#expected.get(task);
    if (expected !== undefined) return expected;
    const policy = this.workers.serving(taskQueue(task))[0]?.policies.get(task);
    return policy === undefined ? undefined : entryOf(task, policy);
  }

  get taskNames(): string[] {
    return [...new Set([...this.#expected.keys(), ...this.workers.tasks()])].sort();
  }

  /** The queue of a topic; undefined where there is no data worker. */
  topicQueue(topic: string): string | undefined {
    const endpoint = pickEndpoint(topic, this.#dataEndpoints);
    return endpoint === undefined ? undefined : dataQueue(endpoint);
  }
}
