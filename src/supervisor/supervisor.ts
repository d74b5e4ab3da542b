/**
 * Runs the engine's processes: starts, restarts and stops them. However it ends, no descendant is
 * left: if it is killed, the kernel kills the children (`dieWithSupervisor`), the router the rest.
 */

import { say, warn } from "../process/log.ts";
import type { EngineTasks, ServiceState } from "../process/messages.ts";
import { type Child, type Ending, exitLine, type RouterRequest } from "./child.ts";
import { Children, type ChildrenOptions } from "./children.ts";
import { type DeathCause, Deaths, noJob, notCounted } from "./deaths.ts";
import type { Keyring } from "./keyring.ts";
import { Reloads } from "./reloads.ts";
import type { RestartRules } from "./restart-policy.ts";
import { hasPort, isApart, isWatched, labelOf, type Role, type Roles } from "./roles.ts";
import { Safety, type SafetyOptions } from "./safety.ts";
import { needsJournal, printScan, scanTasks, tasksOf } from "./scan.ts";
import { type Slot, Slots } from "./slots.ts";
import { StateFolderError } from "./state-folder.ts";
import { endAfterJobs } from "./stop.ts";
import { type ReloadResult, StopSocketError } from "./stop-socket.ts";
import { within } from "./within.ts";

interface SupervisorOptions extends ChildrenOptions {
  readonly roles: Roles;
  readonly restartRules: RestartRules;
  /** ms that running jobs may take to finish at a stop. */
  readonly graceMs: number;
  /** The last line of a start. */
  readonly readyLine: string;
  readonly onState?: (state: ServiceState) => void;
  /** Left out or null for an engine without keys. */
  readonly keyring?: Keyring | null;
  readonly safety: SafetyOptions;
  /** Schedules of the file of settings. */
  readonly schedules?: EngineTasks["schedules"];
}

/** The end of the engine. */
export type RunOutcome =
  /** Stopped as it was told. */
  | { readonly type: "stopped" }
  /** Told to stop twice: what was left is killed. */
  | { readonly type: "killed" }
  /** It could not start or not go on; `reason` is one line for a person. */
  | { readonly type: "failed"; readonly reason: string };

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #children: Children;
  readonly #outcome = Promise.withResolvers<RunOutcome>();
  #safety: Safety | null = null;
  #slots: Slots | null = null;
  #tasks: EngineTasks = { tasks: [] };
  /** Resolves when the present router has got its tasks. */
  #released = Promise.resolve();
  readonly #deaths: Deaths;
  #isReady = false;
  /** The outcome is known, and nothing is started any more. */
  #isStopping = false;
  #isKilling = false;
  readonly #reloads: Reloads;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#children = new Children(
      options,
      options.safety.folder,
      (request, router) => this.#handle(request, router),
      (why) => this.#safety?.emergency.halt(why),
    );
    this.#deaths = new Deaths(options.restartRules, this.#children);
    this.#reloads = new Reloads({
      reload: () => this.#reloadOnce(),
      onFailure: ({ stack }) => this.#fail(`reload: ${stack}`),
      onState: (state) => options.onState?.(state),
      isStopping: () => this.#isStopping,
    });
  }

  /** Runs the engine to its end. When this resolves, no child is left. To be called once. */
  async run(): Promise<RunOutcome> {
    const { safety, roles } = this.#options;
    try {
      const reloaded = (): Promise<ReloadResult> => this.#reloads.next();
      this.#safety = await Safety.open(safety, this.#children, roles, this.#outcome.promise, reloaded);
      await this.#children.endAll();
      await Promise.race([this.#start(this.#safety), this.#outcome.promise]);
      const outcome = await this.#outcome.promise;
      await this.#stopAll(this.#safety);
      return this.#isKilling ? { type: "killed" } : outcome;
    } catch (failure) {
      if (!(failure instanceof StateFolderError || failure instanceof StopSocketError)) throw failure;
      if (this.#isStopping) return await this.#outcome.promise;
      return { type: "failed", reason: failure.message };
    } finally {
      this.#children.killAll();
      if (this.#safety !== null) await this.#children.endAll();
      await this.#safety?.close();
    }
  }

  /** Stops the engine; called again, kills what is left of it. */
  stop(): void {
    if (this.#isStopping) {
      this.#isKilling = true;
      this.#children.killAll();
    } else {
      say("Closing application and stopping services...");
      this.#end({ type: "stopped" });
    }
  }

  /**
   * Reads the authorized clients again, at once. Then reads the task files again and replaces the
   * task workers one by one; during a start or another reload, it does so afterwards.
   */
  reload(): void {
    this.#readAuthorized();
    this.#reloads.want();
  }

  /** Resolves when the router has answered a ping; at once if none is online. */
  async soundness(): Promise<void> {
    const { router } = this.#children;
    if (router?.isOnline) await router.soundness();
  }

  #end(outcome: RunOutcome): void {
    if (!this.#isStopping) this.#options.onState?.("stopping");
    this.#isStopping = true;
    this.#outcome.resolve(outcome);
  }

  #fail(reason: string): void {
    if (!this.#isStopping) this.#end({ type: "failed", reason });
  }

  /* ── Start ── */

  async #start(safety: Safety): Promise<void> {
    const { roles, graceMs } = this.#options;
    const scan = await scanTasks(this.#children, roles);
    if (this.#isStopping) return;
    if (typeof scan === "string") return this.#fail(scan);
    printScan(scan);
    await safety.recover();
    if (this.#isStopping) return;
    say("### Type [ctrl-c] to exit and shutdown workers ###");
    this.#tasks = tasksOf(scan, this.#options.schedules);
    try {
      this.#slots = new Slots(roles, this.#children, {
        graceMs,
        keepFilled: (slot) => {
          const fail = (failure: Error): void => this.#fail(`${slot.role.kind}: ${failure.stack}`);
          this.#keepFilled(slot, safety).catch(fail);
        },
        isStopping: () => this.#isStopping,
        stopping: this.#outcome.promise,
      });
    } catch (failure) {
      return this.#fail(`there is no room for the record of begun jobs: ${(failure as Error).message}`);
    }
    // First: a stop for a damaged journal holds before anything else runs.
    if (needsJournal(this.#tasks)) await this.#slots.openJournal();
    if (this.#isStopping) return;
    this.#slots.fill(scan.wanted);
    await Promise.all([...this.#children].map((child) => child.online));
    if (this.#isStopping) return;
    this.#isReady = true;
    say(this.#options.readyLine);
    this.#slots.openApart();
    this.#options.onState?.("ready");
    this.#reloads.ready();
  }

  /* ── Keep alive ── */

  /** Starts the slot's role again after each end, until the slot is closed or the engine stops. */
  async #keepFilled(slot: Slot, safety: Safety): Promise<void> {
    try {
      while (!this.#isStopping && !slot.isClosed) {
        const { words, plannedReason, cause } = await this.#runOnce(slot, safety);
        if (this.#isStopping) return;
        if (slot.isClosed) return say(plannedReason === null ? words : `${words}, for ${plannedReason}`);
        // Jobs must not bring the engine down: planned ends and deaths by a job do not count.
        if (plannedReason !== null) say(`${words}, for ${plannedReason}; starting another`);
        else if (!this.#isReady && !cause.isJob) return this.#fail(words);
        else await this.#backOff(slot.role, words, cause);
      }
    } finally {
      slot.record?.close();
    }
  }

  /** Runs a role until its process has ended. */
  async #runOnce(
    slot: Slot,
    safety: Safety,
  ): Promise<Pick<Ending, "words" | "plannedReason"> & { readonly cause: DeathCause }> {
    const { role, record } = slot;
    record?.clear();
    const child = this.#children.spawn(role, role.kind === "router" ? safety.lock : record?.descriptor);
    if (typeof child === "string")
      return { words: child, plannedReason: null, cause: isApart(role) ? notCounted : noJob };
    slot.fill(child);
    this.#deaths.troubles.follow(child);
    if (hasPort(role)) child.send({ type: "security", security: this.#options.keyring?.security ?? null });
    if (isWatched(role)) void child.online.then(() => child.endIfStuck());
    safety.brief(child);
    this.#deaths.brief(child);
    if (role.kind === "router") this.#released = safety.release(child, () => this.#tasks);
    const ending = await this.#children.endOf(child);
    if (role.kind === "router" && !this.#isStopping) safety.routerDied();
    const begun = record?.read() ?? null;
    // Before `gone`, which queues unbegun jobs again: their task may be in quarantine by now.
    const isPlanned = this.#isStopping || ending.plannedReason !== null;
    const isSpared = isApart(role) || (role.kind === "source worker" && child.isOnline);
    const cause = isPlanned ? noJob : isSpared ? notCounted : this.#deaths.causeOf(begun, ending);
    if (role.kind !== "router") this.#children.router?.send({ type: "gone", pid: child.pid, begun: begun?.job ?? 0 });
    if (this.#isStopping) say(exitLine(child, ending));
    const who =
      this.#isReady || ending.plannedReason !== null ? `Process [${child.pid}]: ${labelOf(role)}` : labelOf(role);
    return { words: `${who} ${ending.words}`, plannedReason: ending.plannedReason, cause };
  }

  #handle(request: RouterRequest, router: Child): void {
    if (request.type === "watchLog") return this.#children.logs.watch(request.isWatched);
    if (request.type === "reload") return this.#reloadFor(request.request, router);
    if (request.type === "pause" && request.of === "task" && request.since === null) {
      this.#deaths.release(request.name);
    }
    if (request.type !== "kill") return this.#safety?.handle(request, router);
    // The router hears of the end of a worker that has died since.
    const worker = this.#children.taskWorkers.find(({ pid }) => pid === request.pid);
    if (worker !== undefined) void worker.killFor(request.why);
  }

  async #backOff(role: Role, death: string, cause: DeathCause): Promise<void> {
    const { restartRules } = this.#options;
    const decision = this.#deaths.decide(role.name, cause);
    if (decision.type === "give up") {
      const { restartsMax, restartWindowMs } = restartRules;
      return this.#fail(
        `${death}; giving up, for more than ${restartsMax} restarts in ${restartWindowMs} ms are too many`,
      );
    }
    const by = cause.task === null ? "" : `, by a job of ${cause.task}`;
    this.#deaths.troubles.warn(role, `${death}${by}; starting another in ${decision.delayMs} ms`);
    await within(this.#outcome.promise, decision.delayMs);
  }

  /* ── Reload ── */

  #readAuthorized(): void {
    const text = this.#options.keyring?.readAgain();
    if (text === undefined) return;
    for (const child of this.#children) if (hasPort(child.role)) child.send({ type: "authorized", text });
  }

  #reloadFor(request: number, router: Child): void {
    void this.#reloads.next().then((result) => router.send({ type: "reloaded", request, ...none, ...result }));
    this.reload();
  }

  /** Resolves with null if the engine stops meanwhile. */
  async #reloadOnce(): Promise<ReloadResult | null> {
    const scan = await scanTasks(this.#children, this.#options.roles);
    if (this.#isStopping) return null;
    if (typeof scan === "string") {
      const failure = `Task workers stay as they are: ${scan}`;
      warn(failure);
      return { failure };
    }
    printScan(scan);
    const { tasks, wanted } = scan;
    const gone = this.#tasks.tasks.map(({ name }) => name).filter((name) => !tasks.some((task) => task.name === name));
    this.#tasks = tasksOf(scan, this.#options.schedules);
    // A starting router gets its first message first. Jobs of a new task wait for their workers.
    await this.#released;
    this.#deaths.release();
    this.#children.router?.send({ type: "tasks", ...this.#tasks });
    if (needsJournal(this.#tasks)) await this.#slots?.openJournal();
    await this.#slots?.renew(wanted);
    if (this.#isStopping) return null;
    say(`[ENGINE] Task workers are replaced${gone.length === 0 ? "" : `; no task any more: ${gone.join(", ")}`}`);
    const failure = this.#options.keyring?.problem ?? null;
    return failure === null ? { tasks: tasks.length } : { failure };
  }

  /* ── Stop ── */

  async #stopAll(safety: Safety): Promise<void> {
    const { router } = this.#children;
    await endAfterJobs(this.#children, this.#isReady, this.#options.graceMs);
    if (this.#isKilling) return;
    await safety.leave(router?.hasEnded === true ? (await router.ended).unsafe : null, this.#tasks.tasks);
  }
}

const none = { tasks: null, failure: null };
