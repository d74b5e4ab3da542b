/** The child processes that there are at present. */

import * as limits from "../limits.ts";
import { channelDescriptor } from "../process/channel.ts";
import { endEngine, engineNumber } from "../process/descendants.ts";
import { isUnsafeVariable } from "../process/environment.ts";
import { warn } from "../process/log.ts";
import { checkedLines } from "../process/log-feed.ts";
import type { Environment } from "../security/files.ts";
import { Child, type Ending, type RouterRequest } from "./child.ts";
import { LogRelay } from "./log-relay.ts";
import { labelOf, ownCommand, type Role } from "./roles.ts";

/** The interpreter and program of the engine's Python processes. */
export interface PythonInUse {
  /** The command of a role, whose process has task_engine.py as this descriptor. */
  readonly commandOf: (role: Role, program: number) => readonly string[];
  /** Descriptor of task_engine.py. */
  readonly program: number;
  /** Names of its tasks. */
  readonly tasks: ReadonlySet<string>;
}

export interface ChildrenOptions {
  /** Variables for the roles with `takesEnv`. */
  readonly env: Readonly<Record<string, string>>;
  readonly commandOf?: (role: Role) => readonly string[];
  readonly onlineMs?: number;
  readonly terminateMs?: number;
}

export class Children implements Iterable<Child> {
  readonly #options: ChildrenOptions;
  readonly #stateFolder: string;
  readonly #onRouterRequest: (request: RouterRequest, router: Child) => void;
  readonly #onDamaged: (why: string) => void;
  readonly #all = new Set<Child>();
  /** Null while there are no tasks of Python. */
  python: PythonInUse | null = null;
  /** Tasks of Python that take the place of built-in ones. */
  withoutTasks: readonly string[] = [];
  readonly logs = new LogRelay(this.#all, () => this.router);
  #isOver = false;
  #engineNumber: bigint | null = null;

  constructor(
    options: ChildrenOptions,
    stateFolder: string,
    onRouterRequest: (request: RouterRequest, router: Child) => void,
    onDamaged: (why: string) => void,
  ) {
    this.#options = options;
    this.#stateFolder = stateFolder;
    this.#onRouterRequest = onRouterRequest;
    this.#onDamaged = onDamaged;
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
   * A new child, or one line that says why there is none.
   * @param extraDescriptor the child gets it after its channel: the lock or the begun record
   * @param onlineMs ms until it must be online, or have ended if its role is one-shot
   */
  spawn(
    role: Role,
    extraDescriptor: number | null = null,
    onlineMs = this.#options.onlineMs ?? limits.onlineMs,
  ): Child | string {
    if (this.#isOver) return `${role.kind} is not started: the engine ends at once`;
    const { terminateMs = limits.terminateMs } = this.#options;
    const descriptors = extraDescriptor === null ? [] : [extraDescriptor];
    if (role.isPython && this.python !== null) descriptors.push(this.python.program);
    try {
      const child = new Child({
        role,
        command: this.#commandOf(role, channelDescriptor + descriptors.length),
        engine: this.#number,
        environment: { ...this.environmentOf(role), ...(role.kind === "link" && smallHeap) },
        descriptors,
        onRouterRequest: this.#onRouterRequest,
        onDamaged: this.#onDamaged,
        onLog: ({ lines, lost }, { pid }) =>
          this.logs.pass(`${labelOf(role)} ${pid}`, { lines: checkedLines(lines), lost: Number(lost) || 0 }),
        onKill: ({ pid }, why) => this.router?.send({ type: "killed", pid, why }),
        onlineMs,
        terminateMs,
      });
      this.logs.brief(child);
      if (this.python !== null) tellOfPython(child);
      this.#all.add(child);
      return child;
    } catch (failure) {
      return `${labelOf(role)} cannot be started: ${(failure as Error).message}`;
    }
  }

  /** Lets data workers listen for Python's workers, which have found work. */
  servePython(): void {
    for (const child of this.#all) tellOfPython(child);
  }

  environmentOf({ takesEnv }: Pick<Role, "takesEnv">): Record<string, string> {
    return childEnvironment(process.env, takesEnv ? this.#options.env : {});
  }

  /** @param last number of the last of its descriptors */
  #commandOf(role: Role, last: number): readonly string[] {
    if (role.isPython) {
      if (this.python === null) throw new Error("no Python interpreter is in use");
      return this.python.commandOf(role, last);
    }
    const { commandOf = ownCommand } = this.#options;
    return commandOf(role.kind === "task worker" ? withoutTasks(role, this.withoutTasks) : role);
  }

  async endOf(child: Child): Promise<Ending> {
    const ending = await child.ended;
    this.#all.delete(child);
    return ending;
  }

  /** As `Child.terminate`, for all that are meant. */
  async terminate(isMeant: (child: Child) => boolean, graceMs = 0): Promise<void> {
    const terminate = async (child: Child): Promise<void> => {
      if (await child.terminate(graceMs)) return;
      warn(`Process [${child.pid}]: ${labelOf(child.role)} does not end even by SIGKILL, and is left to the system`);
    };
    await Promise.all([...this.#all].filter(isMeant).map(terminate));
  }

  /** Kills them all; from now on none is started. */
  killAll(): void {
    this.#isOver = true;
    for (const child of this.#all) child.kill();
  }

  /**
   * Kills all processes with the engine's mark: leftovers of the last engine, or at the end of this
   * one. The caller must hold the lock of the state folder.
   */
  endAll(): Promise<void> {
    return endEngine(this.#number);
  }

  get #number(): bigint {
    this.#engineNumber ??= engineNumber(this.#stateFolder);
    return this.#engineNumber;
  }
}

/** JavaScriptCore collects more often where it takes the machine for a small one. */
const smallHeap = { BUN_JSC_forceRAMSize: `${limits.linkRamBytes}` };

const tellOfPython = (child: Child): void => {
  if (child.role.kind === "data worker") child.send({ type: "python" });
};

/** The role without built-in tasks of these names, which Python's files define. */
export const withoutTasks = (role: Role, names: readonly string[]): Role => ({
  ...role,
  argv: [...role.argv, ...names.map((name) => `--python-task=${name}`)],
});

const inherited = /^(PATH|HOME|USER|LOGNAME|LANG|LC_[A-Z]+|TZ|TERM|XDG_RUNTIME_DIR|TMPDIR)$/;

/** Without variables that decide what code a process runs, also of the configured ones. */
const childEnvironment = (given: Environment, configured: Environment): Record<string, string> => {
  const own = Object.entries(given).filter(([name]) => inherited.test(name));
  const extra = Object.entries(configured).filter(([name]) => !isUnsafeVariable(name));
  return Object.fromEntries([...own, ...extra].filter((entry): entry is [string, string] => entry[1] !== undefined));
};
