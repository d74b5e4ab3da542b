/** The processes that there are at present, each from its start until it is gone. */

import * as limits from "../limits.ts";
import { endEngine, engineNumber } from "../process/descendants.ts";
import { warn } from "../process/log.ts";
import { Child, type Ending, type RouterRequest } from "./child.ts";
import { childEnvironment } from "./environment.ts";
import type { SupervisorOptions } from "./options.ts";
import { ownCommand, type Role } from "./roles.ts";

type Options = Pick<SupervisorOptions, "env" | "commandOf" | "onlineMs" | "terminateMs" | "safety">;

export class Children implements Iterable<Child> {
  readonly #options: Options;
  readonly #onWish: (wish: RouterRequest, router: Child) => void;
  readonly #all = new Set<Child>();
  #isOver = false;
  #engine: bigint | null = null;

  /** @param onWish what the router wishes */
  constructor(options: Options, onWish: (wish: RouterRequest, router: Child) => void) {
    this.#options = options;
    this.#onWish = onWish;
  }

  [Symbol.iterator](): Iterator<Child> {
    return this.#all[Symbol.iterator]();
  }

  get router(): Child | undefined {
    return [...this.#all].find(({ role }) => role.kind === "router");
  }

  get taskWorkers(): Child[] {
    return [...this.#all].filter(({ role }) => role.kind === "task worker");
  }

  /**
   * A new child, or a line that says why there is none.
   * @param record an open file that it finds as the descriptor after its stderr
   * @param onlineMs ms until it must be online, or have ended if it is an errand
   */
  spawn(role: Role, record: number | null = null, onlineMs = this.#options.onlineMs): Child | string {
    if (this.#isOver) return `${role.kind} is not started: the engine ends at once`;
    const { env, commandOf = ownCommand, terminateMs = limits.terminateMs } = this.#options;
    try {
      const child = new Child({
        role,
        command: commandOf(role),
        engine: this.#number,
        environment: childEnvironment(process.env, role.takesEnv ? env : {}),
        record,
        onWish: this.#onWish,
        onlineMs: onlineMs ?? limits.onlineMs,
        terminateMs,
        killMs: limits.killMs,
      });
      this.#all.add(child);
      return child;
    } catch (failure) {
      return `${role.kind} cannot be started: ${(failure as Error).message}`;
    }
  }

  /** Waits until it is gone. */
  async endOf(child: Child): Promise<Ending> {
    const ending = await child.ended;
    this.#all.delete(child);
    return ending;
  }

  /**
   * Asks those that are meant to end, and kills those that do not.
   * @param graceMs what they have to finish first may take as long
   */
  async terminate(isMeant: (child: Child) => boolean, graceMs = 0): Promise<void> {
    const terminate = async (child: Child): Promise<void> => {
      if (await child.terminate(graceMs)) return;
      warn(`Process [${child.pid}]: ${child.role.kind} does not end even by SIGKILL, and is left to the system`);
    };
    await Promise.all([...this.#all].filter(isMeant).map(terminate));
  }

  /** Kills them, and starts none any more. */
  killAll(): void {
    this.#isOver = true;
    for (const child of this.#all) child.kill();
  }

  /**
   * Kills all that bears the engine's mark: what the engine before has left, or, at the end, this one. To be called while its state
   * folder is this engine's.
   */
  endAll(): Promise<void> {
    return endEngine(this.#number);
  }

  get #number(): bigint {
    this.#engine ??= engineNumber(this.#options.safety.folder);
    return this.#engine;
  }
}
