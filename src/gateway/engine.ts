/** The engine as the gateway asks it: for a person, with what it knows of the tasks. */
import type { Client } from "../client/client.ts";
import type { BinaryReply, TaskReply } from "../client/pending.ts";
import { gatewayDirectoryMs } from "../limits.ts";
import { TaskEngineError } from "../protocol/errors.ts";
import type { JsonObject } from "../protocol/json.ts";
import type { Right } from "../security/access.ts";
import { HttpError } from "./errors.ts";
import type { Person } from "./tokens.ts";

interface TaskInfo {
  readonly name: string;
  /** The dead man of its definition. */
  readonly deadmanMs?: number;
}

export class Engine {
  #tasks: Promise<ReadonlyMap<string, TaskInfo>> | null = null;
  #tasksAtMs = Number.NEGATIVE_INFINITY;

  constructor(readonly client: Client) {}

  /** The whole answer of CONTROL, as it is. Rejects with TaskEngineError. */
  command(
    person: Person,
    command: JsonObject,
    options: { readonly waitMs?: number; readonly signal?: AbortSignal } = {},
  ): Promise<TaskReply | BinaryReply> {
    return this.client.command(command, { ...options, onBehalf: person.onBehalf ?? undefined });
  }

  /** Describes a task, as of the last second at the latest. */
  async taskOf(name: string): Promise<TaskInfo | undefined> {
    const now = performance.now();
    if (this.#tasks === null || now - this.#tasksAtMs > gatewayDirectoryMs) {
      this.#tasksAtMs = now;
      const asked = this.#directory();
      this.#tasks = asked;
      asked.catch(() => {
        if (this.#tasks === asked) this.#tasks = null;
      });
    }
    return (await this.#tasks).get(name);
  }

  async #directory(): Promise<ReadonlyMap<string, TaskInfo>> {
    const tasks = (await this.client.tasks()) as readonly TaskInfo[];
    return new Map(tasks.map((task) => [task.name, task]));
  }
}

/** Throws HttpError, UNAUTHORIZED. For data, which the gateway gets for all viewers together. */
export const demand = ({ user, access }: Person, right: Right, of?: string): void => {
  const refusal = access.refusal(user, right, of);
  if (refusal !== null) throw new HttpError("UNAUTHORIZED", refusal);
};

/** Whether the person has the right for anything. */
export const hasSome = ({ user, access }: Person, right: Right): boolean => access.hasSome(user, right);

/** The number of a query's parameter; undefined where there is none. Throws HttpError. */
export const numberIn = (query: URLSearchParams, name: string): number | undefined => {
  const text = query.get(name);
  if (text === null) return undefined;
  if (/^\d{1,15}(\.\d{1,6})?$/.test(text)) return Number(text);
  throw new TaskEngineError("BAD_ARGS", `${name} is ${JSON.stringify(text.slice(0, 64))}, which is no number`);
};
