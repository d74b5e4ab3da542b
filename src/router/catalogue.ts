/** What can be asked for: the tasks, by the supervisor's word and the workers', and where the topics are. */
import { dataEndpointsMax } from "../limits.ts";
import type { Policy } from "../wire/policy.ts";
import { dataQueue, taskQueue } from "./job.ts";
import { pickEndpoint } from "./placement.ts";
import type { Workers } from "./workers.ts";

export type KnownTask = { readonly name: string } & Policy;

export class Catalogue {
  readonly #expected = new Map<string, Policy>();
  /** Every data worker's endpoint since the start: its topics stay its own while it is being restarted. */
  readonly #dataEndpoints = new Set<string>();

  constructor(private readonly workers: Workers) {}

  /** Tasks that workers will serve once they are there. */
  expect(tasks: readonly KnownTask[]): void {
    this.#expected.clear();
    for (const { name, ...policy } of tasks) this.#expected.set(name, policy);
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

  has(task: string): boolean {
    return this.#expected.has(task) || this.workers.serving(taskQueue(task)).length > 0;
  }

  policyOf(task: string): Policy | undefined {
    // The task files first: workers that are being replaced still have what they said before.
    return this.#expected.get(task) ?? this.workers.serving(taskQueue(task))[0]?.policies.get(task);
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
