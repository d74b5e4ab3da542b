/**
 * Runs the engine's processes: starts them, starts again what dies, stops them all. Whatever happens here, none of them is
 * left behind; and should this process be killed, the kernel kills them (`dieWithSupervisor` in lifecycle.ts).
 */
import * as limits from "../limits.ts";
import { say, warn } from "../log.ts";
import { Child, type Ending } from "./child.ts";
import { childEnvironment } from "./environment.ts";
import { afterDeath, noDeaths, type RestartRules } from "./policy.ts";
import { ownCommand, type Role, type Roles } from "./roles.ts";
import { readScan, scanLines } from "./scan.ts";
import { late, within } from "./within.ts";

export interface SupervisorOptions {
  readonly roles: Roles;
  readonly restartRules: RestartRules;
  /** ms that running jobs may take to finish at a stop. */
  readonly graceMs: number;
  /** Variables for the roles that take them, beside those that every child is given. */
  readonly env: Readonly<Record<string, string>>;
  /** Said last in a start. */
  readonly readyLine: string;
  readonly commandOf?: (role: Role) => readonly string[];
  readonly onlineMs?: number;
  readonly terminateMs?: number;
}

export type Outcome =
  /** It was told to stop, and has. */
  | { readonly type: "stopped" }
  /** It was told twice, and has killed what was left. */
  | { readonly type: "killed" }
  /** It could not start or not go on; `reason` is one line for a person. */
  | { readonly type: "failed"; readonly reason: string };

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #children = new Set<Child>();
  readonly #outcome = Promise.withResolvers<Outcome>();
  #history = noDeaths;
  #isReady = false;
  /** True from the moment that the outcome is known: nothing is started any more. */
  #isStopping = false;
  #isKilling = false;

  constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  /** Runs the engine until it is stopped or fails. When this resolves, no child is left. To be called once. */
  async run(): Promise<Outcome> {
    try {
      await Promise.race([this.#start(), this.#outcome.promise]);
      const outcome = await this.#outcome.promise;
      await this.#stopAll();
      return this.#isKilling ? { type: "killed" } : outcome;
    } finally {
      this.#killAll();
    }
  }

  /** Stops the engine; called again, kills what is left of it. */
  stop(): void {
    if (this.#isStopping) {
      this.#isKilling = true;
      this.#killAll();
    } else {
      say("Closing application and stopping services...");
      this.#end({ type: "stopped" });
    }
  }

  #end(outcome: Outcome): void {
    this.#isStopping = true;
    this.#outcome.resolve(outcome);
  }

  #fail(reason: string): void {
    if (!this.#isStopping) this.#end({ type: "failed", reason });
  }

  /* ── Start ─────────────────────────────────────────────────────────────────────────────────────────────────────── */

  async #start(): Promise<void> {
    const names = await this.#scan();
    if (this.#isStopping) return;
    if (typeof names === "string") return this.#fail(names);

    for (const line of scanLines(names)) say(line);
    say("### Type [ctrl-c] to exit and shutdown workers ###");
    const { router, workers } = this.#options.roles;
    for (const role of [router, ...workers]) {
      this.#keep(role, names).catch((failure: unknown) => this.#fail(`${role.kind}: ${(failure as Error).stack}`));
    }
    await Promise.all([...this.#children].map((child) => child.online));
    if (this.#isStopping) return;
    this.#isReady = true;
    say(this.#options.readyLine);
  }

  /** The names of all tasks, or a line that says why there are none. */
  async #scan(): Promise<readonly string[] | string> {
    const child = this.#spawn(this.#options.roles.scan);
    if (typeof child === "string") return child;
    const [output, ending] = await Promise.all([child.output(), this.#endOf(child)]);
    return readScan(output, ending);
  }

  /** A new child, or a line that says why there is none. */
  #spawn(role: Role): Child | string {
    const { env, commandOf = ownCommand, onlineMs = limits.onlineMs, terminateMs = limits.terminateMs } = this.#options;
    try {
      const child = new Child({
        role,
        command: commandOf(role),
        environment: childEnvironment(process.env, role.takesEnv ? env : {}),
        onlineMs,
        terminateMs,
        killMs: limits.killMs,
      });
      this.#children.add(child);
      return child;
    } catch (failure) {
      return `${role.kind} cannot be started: ${(failure as Error).message}`;
    }
  }

  async #endOf(child: Child): Promise<Ending> {
    const ending = await child.ended;
    this.#children.delete(child);
    // Ctrl-C goes to every process of a terminal, and may reach a child that is just starting before it is heard here.
    if (ending.signal === "SIGINT" || ending.signal === "SIGHUP")
      await within(this.#outcome.promise, limits.lastWordsMs);
    return ending;
  }

  /* ── Keep alive ────────────────────────────────────────────────────────────────────────────────────────────────── */

  /** Runs a role, again and again, until the engine stops. */
  async #keep(role: Role, taskNames: readonly string[]): Promise<void> {
    while (!this.#isStopping) {
      const death = await this.#runOnce(role, taskNames);
      if (this.#isStopping) return;
      if (!this.#isReady) return this.#fail(death);
      await this.#backOff(role, death);
    }
  }

  /** Runs a role until it ends; returns how that came, in one line. */
  async #runOnce(role: Role, taskNames: readonly string[]): Promise<string> {
    const child = this.#spawn(role);
    if (typeof child === "string") return child;
    say(`Starting process [${child.pid}]: ${role.kind}`);
    if (role.kind === "router") child.send({ type: "tasks", names: taskNames });
    const ending = await this.#endOf(child);
    if (role.kind !== "router") this.#router?.send({ type: "gone", pid: child.pid });
    if (this.#isStopping) say(farewell(child, ending));
    return this.#isReady ? `Process [${child.pid}]: ${role.kind} ${ending.words}` : `${role.kind} ${ending.words}`;
  }

  async #backOff(role: Role, death: string): Promise<void> {
    const { restartRules } = this.#options;
    const { history, decision } = afterDeath(this.#history, role.name, performance.now(), restartRules);
    this.#history = history;
    if (decision.type === "give up") {
      const { restartsMax, restartWindowMs } = restartRules;
      return this.#fail(
        `${death}; giving up, for more than ${restartsMax} restarts in ${restartWindowMs} ms are too many`,
      );
    }
    warn(`${death}; starting another in ${decision.delayMs} ms`);
    await within(this.#outcome.promise, decision.delayMs);
  }

  get #router(): Child | undefined {
    return [...this.#children].find(({ role }) => role.kind === "router");
  }

  /* ── Stop ──────────────────────────────────────────────────────────────────────────────────────────────────────── */

  async #stopAll(): Promise<void> {
    const router = this.#isReady && this.#router?.isOnline ? this.#router : undefined;
    const idle = router && Promise.race([router.drained, router.ended]);
    router?.send({ type: "drain" });
    const isOverdue = idle && (await within(idle, this.#options.graceMs)) === late;
    if (isOverdue) warn(`Jobs still run after ${this.#options.graceMs} ms of grace, and are ended`);
    // The router goes last: it still has to pass on what workers have answered, and to answer what their end has cut off.
    await this.#terminate(({ role }) => role.kind !== "router");
    if (isOverdue) {
      await within(idle, limits.lastWordsMs);
      await Bun.sleep(limits.farewellMs);
    }
    await this.#terminate(({ role }) => role.kind === "router");
  }

  async #terminate(isMeant: (child: Child) => boolean): Promise<void> {
    const terminate = async (child: Child): Promise<void> => {
      if (await child.terminate()) return;
      warn(`Process [${child.pid}]: ${child.role.kind} does not end even by SIGKILL, and is left to the system`);
    };
    await Promise.all([...this.#children].filter(isMeant).map(terminate));
  }

  #killAll(): void {
    for (const child of this.#children) child.kill("SIGKILL");
  }
}

const farewell = ({ pid, role }: Child, { exitCode, signal, words }: Ending): string => {
  if (signal === "SIGKILL") return `Killed process [${pid}]: ${role.kind}`;
  // A child that has not set up its handlers yet ends by the signal itself.
  const isClean = exitCode === 0 || signal === "SIGTERM" || signal === "SIGINT" || signal === "SIGHUP";
  return isClean ? `Successfully terminated process [${pid}]: ${role.kind}` : `Process [${pid}]: ${role.kind} ${words}`;
};
