/** A supervisor for a test, in a process of its own: `await using host = await supervise({ first: "flaky" })`. */
import type { RunOutcome } from "../../src/supervisor/supervisor.ts";
import { Engine } from "./engine.ts";
import { supportProgram } from "./executable.ts";

/** See supervision.ts. */
export const supervision = await supportProgram("supervision");

/** How its children behave (see role.ts; well, if not said), and its bounds. */
export interface Plan {
  readonly scan?: string;
  readonly router?: string;
  /** The task worker, and the data worker, which there is only if it is said. */
  readonly first?: string;
  readonly second?: string;
  /** The source worker, which there is if the scan lists sources. */
  readonly source?: string;
  /** The journal, which there is if the scan lists a durable task. */
  readonly journal?: string;
  /** It has none if this is left out. */
  readonly gateway?: string;
  readonly restartsMax?: number;
  readonly graceMs?: number;
  readonly onlineMs?: number;
  readonly terminateMs?: number;
  readonly env?: Readonly<Record<string, string>>;
  /** How the task of `on-stop` behaves; there is none, if not said. */
  readonly hook?: string;
  readonly stopGraceMs?: number;
  readonly isPrivate?: boolean;
  /** A file for roles that must remember. */
  readonly marker?: string;
}

export class Host extends Engine {
  constructor(plan: Plan, env: Readonly<Record<string, string>>, state: string | undefined) {
    const command = [...supervision, "host", JSON.stringify(plan)];
    const options = { command, env: { PATH: process.env.PATH ?? "", ...env }, ...(state !== undefined && { state }) };
    super(options, { frontend: 0, backend: 0, worker: 0, data: 0 });
  }

  /** Waits for its end; what the run came to. */
  async outcome(): Promise<RunOutcome> {
    await this.ended();
    const line = this.lines.find((line) => line.startsWith("Outcome: "));
    if (line === undefined)
      throw new Error(`there is no outcome in:\n${[...this.lines, ...this.errorLines].join("\n")}`);
    return JSON.parse(line.slice("Outcome: ".length)) as RunOutcome;
  }
}

/** Starts it; does not wait. @param state its state folder, if it is to outlive it */
export const supervise = (plan: Plan = {}, env: Readonly<Record<string, string>> = {}, state?: string): Host =>
  new Host(plan, env, state);
