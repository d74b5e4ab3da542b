/**
 * The robot's engine as the link sees it: looked at once a second, and told to the fleet from here.
 */
import type { Client, TaskListing } from "../client/client.ts";
import { linkLookMs, linkTasksMax } from "../limits.ts";
import { TaskEngineError } from "../protocol/errors.ts";
import { isSubjectEnd, type RobotReport } from "../protocol/fleet.ts";
import type { Access } from "../security/access.ts";

/** The user that the fleet's rights belong to. */
export const fleetUser = "fleet";

interface Seen {
  readonly isConnected: boolean;
  readonly isDraining: boolean;
  readonly stopped: RobotReport["stopped"];
  readonly jobs: RobotReport["jobs"];
  /** Workers that run tasks. */
  readonly workers: number;
}

const nothingSeen: Seen = {
  isConnected: false,
  isDraining: false,
  stopped: null,
  jobs: { waiting: 0, held: 0 },
  workers: 0,
};

export class EngineView {
  #seen = nothingSeen;
  /** Those that the fleet may run, by name. */
  #tasks: ReadonlyMap<string, TaskListing> = new Map();
  readonly #warned = new Set<string>();
  #timer: Timer | undefined;
  #isClosed = false;

  /**
   * @param onLook is called after each look
   * @param warn writes a line to the log
   */
  constructor(
    private readonly client: Client,
    private readonly access: Access,
    private readonly onLook: () => void,
    private readonly warn: (line: string) => void,
  ) {}

  get seen(): Seen {
    return this.#seen;
  }

  get tasks(): ReadonlyMap<string, TaskListing> {
    return this.#tasks;
  }

  /** Looks, and from then on again and again. Never rejects with what an engine can cause. */
  async start(): Promise<void> {
    await this.look();
    if (!this.#isClosed) this.#timer = setTimeout(() => void this.start(), linkLookMs);
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  async look(): Promise<void> {
    try {
      const [status, tasks] = await Promise.all([this.client.status(), this.client.tasks()]);
      const { stopped, draining, jobs, workers } = status;
      this.#seen = {
        isConnected: true,
        isDraining: draining,
        stopped: stopped === null ? null : { reason: stopped.reason, since: stopped.since },
        jobs: { waiting: jobs.waiting, held: jobs.held },
        workers: workers.filter(({ role, state }) => role === "task" && (state === "idle" || state === "busy")).length,
      };
      this.#tasks = this.#offered(tasks);
    } catch (error) {
      if (!(error instanceof TaskEngineError)) throw error;
      this.#seen = { ...this.#seen, isConnected: false };
    }
    if (!this.#isClosed) this.onLook();
  }

  #offered(tasks: readonly TaskListing[]): ReadonlyMap<string, TaskListing> {
    const offered = new Map<string, TaskListing>();
    for (const task of tasks) {
      const { name } = task;
      if (this.access.missing(fleetUser, "send", name) !== null) continue;
      if (!isSubjectEnd(name))
        this.#warnOnce(`the task ${JSON.stringify(name)} is not offered: NATS has no such subject`);
      else if (offered.size >= linkTasksMax)
        this.#warnOnce(`more than ${linkTasksMax} tasks: the others are not offered`);
      else offered.set(name, task);
    }
    return offered;
  }

  #warnOnce(line: string): void {
    if (this.#warned.has(line)) return;
    this.#warned.add(line);
    this.warn(line);
  }
}
