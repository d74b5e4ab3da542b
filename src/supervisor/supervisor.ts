/**
 * Runs the engine's processes: starts them, starts again what dies, stops them all. Whatever happens here, none of them is
 * left behind, nor what a task has started there; and should this process be killed, the kernel kills them (`dieWithSupervisor` in
 * process/supervised.ts), and the router the rest.
 */

import * as limits from "../limits.ts";
import { say, warn } from "../process/log.ts";
import type { KnownTask } from "../process/messages.ts";
import { type Child, type Ending, farewell, type RouterRequest } from "./child.ts";
import { Children } from "./children.ts";
import { Deaths } from "./deaths.ts";
import { killWorker } from "./halting.ts";
import type { Outcome, SupervisorOptions } from "./options.ts";
import { type Cause, noJob } from "./quarantine.ts";
import { isOneShot, type Role } from "./roles.ts";
import { Safety } from "./safety.ts";
import { readScan, scanLines } from "./scan.ts";
import { Slot } from "./slot.ts";
import { StateFolderError } from "./state-folder.ts";
import { type ReloadResult, StopSocketError } from "./stop-socket.ts";
import { late, within } from "./within.ts";

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #children: Children;
  readonly #outcome = Promise.withResolvers<Outcome>();
  #safety: Safety | null = null;
  #posts: readonly Slot[] = [];
  #tasks: readonly KnownTask[] = [];
  /** When the present router has been told what it begins with. */
  #released = Promise.resolve();
  readonly #deaths: Deaths;
  #isReady = false;
  /** True from the moment that the outcome is known: nothing is started any more. */
  #isStopping = false;
  #isKilling = false;
  #isReloading = false;
  #isReloadWanted = false;
  /** Are told how the next reload ends. */
  readonly #reloadWaiters: ((result: ReloadResult) => void)[] = [];

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#children = new Children(options, (wish, router) => this.#grant(wish, router));
    this.#deaths = new Deaths(options.restartRules, this.#children);
  }

  /** Runs the engine until it is stopped or fails. When this resolves, no child is left. To be called once. */
  async run(): Promise<Outcome> {
    const { safety, roles } = this.#options;
    try {
      const reloaded = (): Promise<ReloadResult> => new Promise((tell) => this.#reloadWaiters.push(tell));
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
   * Reads again who is let in, at once. Then replaces the task workers one after the other, with the task files as they now
   * are; the others serve meanwhile. Asked during a start or another reload, it does that afterwards.
   */
  reload(): void {
    this.#admitAnew();
    this.#isReloadWanted = true;
    if (!this.#isReady || this.#isReloading) return;
    this.#reloadWhileWanted().catch((failure: unknown) => this.#fail(`reload: ${(failure as Error).stack}`));
  }

  /** Resolves as soon as the router has answered; where it starts or has died, the rules of restarts take care, and it is well. */
  async soundness(): Promise<void> {
    const { router } = this.#children;
    if (router?.isOnline) await router.soundness();
  }

  #end(outcome: Outcome): void {
    if (!this.#isStopping) this.#options.onState?.("stopping");
    this.#isStopping = true;
    this.#outcome.resolve(outcome);
  }

  #fail(reason: string): void {
    if (!this.#isStopping) this.#end({ type: "failed", reason });
  }

  /* ── Start ─────────────────────────────────────────────────────────────────────────────────────────────────────── */

  async #start(safety: Safety): Promise<void> {
    const tasks = await this.#scan();
    if (this.#isStopping) return;
    if (typeof tasks === "string") return this.#fail(tasks);

    for (const line of scanLines(tasks)) say(line);
    await safety.recover();
    if (this.#isStopping) return;
    say("### Type [ctrl-c] to exit and shutdown workers ###");
    this.#tasks = tasks;
    const { router, workers } = this.#options.roles;
    try {
      this.#posts = [router, ...workers].map((role) => new Slot(role));
    } catch (failure) {
      return this.#fail(`there is no room for the record of begun jobs: ${(failure as Error).message}`);
    }
    for (const post of this.#posts) {
      this.#keep(post, safety).catch((failure: unknown) =>
        this.#fail(`${post.role.kind}: ${(failure as Error).stack}`),
      );
    }
    await Promise.all([...this.#children].map((child) => child.online));
    if (this.#isStopping) return;
    this.#isReady = true;
    say(this.#options.readyLine);
    this.#options.onState?.("ready");
    if (this.#isReloadWanted) this.reload();
  }

  /** All tasks, or a line that says why there are none. */
  async #scan(): Promise<readonly KnownTask[] | string> {
    const { scan, hook } = this.#options.roles;
    const child = this.#children.spawn(scan);
    if (typeof child === "string") return child;
    const [output, ending] = await Promise.all([child.output(), this.#children.endOf(child)]);
    return readScan(output, ending, hook);
  }

  /* ── Keep alive ────────────────────────────────────────────────────────────────────────────────────────────────── */

  /** Keeps a post filled until the engine stops. */
  async #keep(post: Slot, safety: Safety): Promise<void> {
    try {
      while (!this.#isStopping) {
        const { words, plannedReason, cause } = await this.#runOnce(post, safety);
        if (this.#isStopping) return;
        // What clients send must not be able to bring the engine down: neither this is counted, nor what a job has caused.
        if (plannedReason !== null) say(`${words}, for ${plannedReason}; starting another`);
        else if (!this.#isReady && !cause.isJob) return this.#fail(words);
        else await this.#backOff(post.role, words, cause);
      }
    } finally {
      post.close();
    }
  }

  /** Runs a role until its process ends; returns how that came, in one line, whether it is no death, and whose doing it is else. */
  async #runOnce(
    post: Slot,
    safety: Safety,
  ): Promise<Pick<Ending, "words" | "plannedReason"> & { readonly cause: Cause }> {
    const { role, record } = post;
    record?.clear();
    const child = this.#children.spawn(role, role.kind === "router" ? safety.lock : record?.descriptor);
    if (typeof child === "string") return { words: child, plannedReason: null, cause: noJob };
    post.fill(child);
    say(`Starting process [${child.pid}]: ${role.kind}`);
    child.send({ type: "security", security: this.#options.keyring?.security ?? null });
    safety.emergency.brief(child);
    this.#deaths.brief(child);
    if (role.kind === "router") this.#released = safety.release(child, () => this.#tasks);
    const ending = await this.#children.endOf(child);
    if (role.kind === "router" && !this.#isStopping) safety.routerDied();
    const begun = record?.read() ?? null;
    // First: what it had not begun comes back to the router at its death, and is closed by then if need be.
    const cause = this.#isStopping || ending.plannedReason !== null ? noJob : this.#deaths.causeOf(begun, ending);
    if (role.kind !== "router") this.#children.router?.send({ type: "gone", pid: child.pid, begun: begun?.job ?? 0 });
    if (this.#isStopping) say(farewell(child, ending));
    const who = this.#isReady || ending.plannedReason !== null ? `Process [${child.pid}]: ${role.kind}` : role.kind;
    return { words: `${who} ${ending.words}`, plannedReason: ending.plannedReason, cause };
  }

  #grant(wish: RouterRequest, router: Child): void {
    const emergency = this.#safety?.emergency;
    if (wish.type === "estop") {
      const { request, stopped } = wish;
      void emergency?.stop(stopped).then((failure) => router.send({ type: "latched", request, failure }));
    } else if (wish.type === "reset") void emergency?.reset(wish.request, router);
    else if (wish.type === "withdrawReset") emergency?.withdrawReset(wish.stopped);
    else {
      // One that has died since is no longer there to be killed, and its death is told anyway.
      const worker = this.#children.taskWorkers.find(({ pid }) => pid === wish.pid);
      if (worker !== undefined) void killWorker(worker, wish.why);
    }
  }

  async #backOff(role: Role, death: string, cause: Cause): Promise<void> {
    const { restartRules } = this.#options;
    const decision = this.#deaths.decide(role.name, cause);
    if (decision.type === "give up") {
      const { restartsMax, restartWindowMs } = restartRules;
      return this.#fail(
        `${death}; giving up, for more than ${restartsMax} restarts in ${restartWindowMs} ms are too many`,
      );
    }
    warn(
      `${death}${cause.task === null ? "" : `, by a job of ${cause.task}`}; starting another in ${decision.delayMs} ms`,
    );
    await within(this.#outcome.promise, decision.delayMs);
  }

  /* ── Reload ────────────────────────────────────────────────────────────────────────────────────────────────────── */

  #admitAnew(): void {
    const { keyring } = this.#options;
    if (keyring === null || keyring === undefined) return;
    const text = keyring.readAgain();
    for (const child of this.#children) if (!isOneShot(child.role)) child.send({ type: "authorized", text });
  }

  async #reloadWhileWanted(): Promise<void> {
    this.#isReloading = true;
    this.#options.onState?.("reloading");
    while (this.#isReloadWanted && !this.#isStopping) {
      this.#isReloadWanted = false;
      const waiters = this.#reloadWaiters.splice(0);
      const result = await this.#reloadOnce();
      if (result !== null) for (const tell of waiters) tell(result);
    }
    this.#isReloading = false;
    if (!this.#isStopping) this.#options.onState?.("ready");
  }

  /** null where the engine stops meanwhile. */
  async #reloadOnce(): Promise<ReloadResult | null> {
    const tasks = await this.#scan();
    if (this.#isStopping) return null;
    if (typeof tasks === "string") {
      const failure = `Task workers stay as they are: ${tasks}`;
      warn(failure);
      return { failure };
    }

    for (const line of scanLines(tasks)) say(line);
    const gone = this.#tasks.map(({ name }) => name).filter((name) => !tasks.some((task) => task.name === name));
    this.#tasks = tasks;
    // Before the workers: a task that is new waits for the first of them from now on. But a router that starts is told first how it stands.
    await this.#released;
    this.#deaths.reopen();
    this.#children.router?.send({ type: "tasks", tasks });
    for (const post of this.#posts) {
      if (post.role.kind === "task worker") await this.#replace(post);
      if (this.#isStopping) return null;
    }
    say(`[ENGINE] Task workers are replaced${gone.length === 0 ? "" : `; no task any more: ${gone.join(", ")}`}`);
    const failure = this.#options.keyring?.trouble ?? null;
    return failure === null ? { tasks: tasks.length } : { failure };
  }

  /** Lets a worker finish its job and leave; waits until its successor serves. */
  async #replace(post: Slot): Promise<void> {
    const { child } = post;
    const successor = post.vacate();
    child?.dismiss("the task files are read anew");
    if (child?.hasEnded === false) await this.#children.terminate((other) => other === child, this.#options.graceMs);
    await Promise.race([successor, this.#outcome.promise]);
  }

  /* ── Stop ──────────────────────────────────────────────────────────────────────────────────────────────────────── */

  async #stopAll(safety: Safety): Promise<void> {
    const { router: present } = this.#children;
    const router = this.#isReady && present?.isOnline ? present : undefined;
    const idle = router && Promise.race([router.drained, router.ended]);
    router?.send({ type: "drain" });
    const isOverdue =
      router !== undefined && idle !== undefined && (await within(idle, this.#options.graceMs)) === late;
    if (isOverdue) {
      warn(`Jobs still run after ${this.#options.graceMs} ms of grace, and are ended`);
      router.send({ type: "abort" });
      await within(idle, limits.abortGraceMs);
    }
    // The router goes last: it still has to pass on what workers have answered, and to answer what their end has cut off.
    await this.#children.terminate(({ role }) => role.kind !== "router" && role.kind !== "safe");
    if (isOverdue) {
      await within(idle, limits.lastWordsMs);
      await Bun.sleep(limits.farewellMs);
    }
    await this.#children.terminate(({ role }) => role.kind === "router");
    if (this.#isKilling) return;
    await safety.leave(present?.hasEnded === true ? (await present.ended).unsafe : null, this.#tasks);
  }
}
