/** What can be asked for: the tasks, by the supervisor's word and the workers', and where the topics are. */
import { dataEndpointsMax } from "../limits.ts";
import type { Policy } from "../protocol/policy.ts";
import { type Draft, dataQueue, type Stop, taskQueue } from "./job.ts";
import { pickEndpoint } from "./placement.ts";
import type { PolicyInForce } from "./policies.ts";
import type { Workers } from "./workers.ts";

export type KnownTask = { readonly name: string } & Policy;

/** What a task's jobs take from it. */
export type Entry = Pick<Draft, "name" | "queue" | "policy">;

const entryOf = (name: string, policy: Policy): Entry => ({ name, queue: taskQueue(name), policy });

export class TaskDirectory {
  readonly #expected = new Map<string, Entry>();
  /** Every data worker's endpoint since the start: its topics stay its own while it is being restarted. */
  readonly #dataEndpoints = new Set<string>();

  constructor(private readonly workers: Workers) {}

  /** Tasks that workers will serve once they are there. */
  expect(tasks: readonly KnownTask[]): void {
    this.#expected.clear();
    this.workers.forgetGone();
    for (const { name, ...policy } of tasks) this.#expected.set(name, entryOf(name, policy));
  }

  /** Whether it is one of the engine's own, by the supervisor's word. */
  expects(task: string): boolean {
    return this.#expected.has(task);
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
    const served = this.inForce(task);
    return served === undefined ? undefined : entryOf(task, served.policy);
  }

  /** The engine's own tasks are held to their files; any other, to what the first of the workers that serve it has said. */
  inForce(task: string): PolicyInForce | undefined {
    const expected = this.#expected.get(task);
    if (expected !== undefined) return { policy: expected.policy, by: "the engine's own tasks" };
    const [first] = this.workers.serving(taskQueue(task));
    const policy = first?.policies.get(task);
    return first === undefined || policy === undefined ? undefined : { policy, by: `worker ${first.ready.id}` };
  }

  /** Why a task cannot be asked for that is not found. */
  whyMissing(task: string): Stop {
    const gone = this.workers.goneOf(task);
    if (gone === undefined) {
      const message = `no task ${JSON.stringify(task)} is registered; \`task-engine tasks\` lists those that are`;
      return { code: "UNKNOWN_TASK", message };
    }
    const message = `no worker serves ${task} at present: the last, ${gone.worker}, is gone (${gone.why}); start it again`;
    return { code: "UNAVAILABLE", message };
  }

  get taskNames(): string[] {
    return [...new Set([...this.#expected.keys(), ...this.workers.tasks(), ...this.workers.goneTasks()])].sort();
  }

  /** The queue of a topic; undefined where there is no data worker. */
  topicQueue(topic: string): string | undefined {
    const endpoint = pickEndpoint(topic, this.#dataEndpoints);
    return endpoint === undefined ? undefined : dataQueue(endpoint);
  }
}
