/**
 * The robot's part in the queues of the fleet (LINK.md): it asks JetStream for a job where it could
 * begin one now, from its own queue and those of its groups for the tasks that may begin by
 * themselves. Without such a task it asks JetStream for nothing.
 */
import type { Msg, NatsConnection, Subscription } from "@nats-io/transport-node";
import type { Client } from "../client/client.ts";
import { FleetJobs } from "../client/fleet-jobs.ts";
import { nanoseconds, powerCutNote } from "../client/jetstream.ts";
import {
  linkAbsentMs,
  linkAckMs,
  linkPullMs,
  linkPullSignMs,
  linkPullSilenceMs,
  linkQueuesMax,
  linkReturnMs,
  linkUnacknowledgedMax,
  linkWaitingMax,
} from "../limits.ts";
import { TaskEngineError } from "../protocol/errors.ts";
import { checkedJobId, groupConsumer, jobsStream, queueSubject, robotConsumer } from "../protocol/fleet-jobs.ts";
import type { OnBehalf } from "../protocol/frames.ts";
import { decodeObject } from "../protocol/schema.ts";
import type { EngineView } from "./engine-view.ts";
import { JobRun, type QueueContext } from "./queued-job.ts";
import type { TakenFile } from "./taken-file.ts";

interface JobQueueOptions {
  readonly nats: NatsConnection;
  readonly client: Client;
  readonly view: EngineView;
  readonly robot: string;
  readonly groups: readonly string[];
  readonly onBehalf: OnBehalf | null;
  readonly taken: TakenFile;
  readonly warn: (line: string) => void;
}

/** One consumer of JetStream. */
interface Queue {
  readonly consumer: string;
  readonly group: string | null;
  /** The subject of a job is this and its task. */
  readonly prefix: string;
  readonly inbox: Subscription;
  /** Until this time, by `performance.now()`, it is asked, or need not be asked again. */
  quietUntilMs: number;
  heardAtMs: number;
}

interface Wanted {
  readonly consumer: string;
  readonly group: string | null;
  readonly prefix: string;
  readonly filter: string;
}

export class JobQueue {
  readonly #options: JobQueueOptions;
  readonly #queues = new Map<string, Queue>();
  /** Runs by the ids of jobs. */
  readonly #runs = new Map<string, JobRun>();
  readonly #leaving = new AbortController();
  #context: QueueContext | null = null;
  #jobsAtLook = 0;
  #isPreparing = false;
  #prepareAtMs = 0;
  #failure = "";

  constructor(options: JobQueueOptions) {
    this.#options = options;
  }

  /** Tasks of which the fleet may keep jobs for this robot. */
  get tasks(): readonly string[] {
    return this.#queues.has(robotConsumer(this.#options.robot)) ? this.#unattended : [];
  }

  /** The engine has just been looked at. */
  looked(): void {
    this.#jobsAtLook = this.#runs.size;
    const wanted = this.#wanted();
    for (const queue of this.#queues.values()) {
      if (!wanted.some(({ consumer }) => consumer === queue.consumer)) this.#drop(queue);
    }
    const isNew = wanted.some(({ consumer }) => !this.#queues.has(consumer));
    if (isNew && !this.#isPreparing && performance.now() >= this.#prepareAtMs) void this.#prepare(wanted);
    this.#pull();
  }

  /** Whether there is such a job here; it ends as CANCELLED, unless it ends by itself before. */
  cancel(job: string): boolean {
    const run = this.#runs.get(job);
    run?.cancel();
    return run !== undefined;
  }

  /** The connection to NATS is there again: nobody knows what has been asked before. */
  reconnected(): void {
    for (const queue of this.#queues.values()) queue.quietUntilMs = 0;
    this.#pull();
  }

  close(): void {
    this.#leaving.abort();
    for (const { inbox } of this.#queues.values()) inbox.unsubscribe();
  }

  /** Resolves once no run goes on; their jobs may. */
  async settled(): Promise<void> {
    while (this.#runs.size > 0) await Bun.sleep(10);
    await this.#options.taken.close();
  }

  get #unattended(): readonly string[] {
    const tasks = [...this.#options.view.tasks.values()];
    return tasks.filter(({ unattended }) => unattended === true).map(({ name }) => name);
  }

  #wanted(): readonly Wanted[] {
    const { robot, groups } = this.#options;
    const tasks = this.#unattended;
    if (tasks.length === 0) return [];
    const own = queueSubject({ robot }, "");
    const wanted: Wanted[] = [{ consumer: robotConsumer(robot), group: null, prefix: own, filter: `${own}>` }];
    for (const group of groups) {
      const prefix = queueSubject({ group }, "");
      for (const task of tasks) {
        const consumer = groupConsumer(group, task);
        if (consumer !== null) wanted.push({ consumer, group, prefix, filter: prefix + task });
      }
    }
    return wanted.slice(0, linkQueuesMax);
  }

  async #prepare(wanted: readonly Wanted[]): Promise<void> {
    const { nats, warn, groups } = this.#options;
    this.#isPreparing = true;
    try {
      const context = this.#context ?? (await this.#open());
      const { createInbox } = await import("@nats-io/transport-node");
      for (const { consumer, group, prefix, filter } of wanted) {
        if (this.#queues.has(consumer) || this.#leaving.signal.aborted) continue;
        await context.jobs.store.api(`CONSUMER.DURABLE.CREATE.${jobsStream}.${consumer}`, {
          stream_name: jobsStream,
          config: {
            ...{ durable_name: consumer, filter_subject: filter, deliver_policy: "all", replay_policy: "instant" },
            ...{ ack_policy: "explicit", ack_wait: nanoseconds(linkAckMs), max_deliver: -1 },
            ...{ max_ack_pending: linkUnacknowledgedMax, max_waiting: linkWaitingMax },
            inactive_threshold: nanoseconds(linkAbsentMs),
          },
        });
        const inbox = nats.subscribe(createInbox(), {
          callback: (error, message) => {
            if (error === null) this.#hear(consumer, message);
          },
        });
        this.#queues.set(consumer, { consumer, group, prefix, inbox, quietUntilMs: 0, heardAtMs: 0 });
      }
      if (wanted.length === linkQueuesMax)
        warn(`jobs come from ${linkQueuesMax} queues at most: not for all tasks of the groups ${groups.join(", ")}`);
      if (this.#failure !== "") warn("the fleet's jobs are reached again");
      this.#failure = "";
      this.#pull();
    } catch (error) {
      if (!(error instanceof TaskEngineError)) throw error;
      // The next look tries again, later. Of a failure that lasts one line is enough.
      this.#prepareAtMs = performance.now() + linkReturnMs;
      if (this.#failure === "" && !nats.isClosed()) warn(`${error.message}; calls and stops go on`);
      this.#failure = error.message;
    } finally {
      this.#isPreparing = false;
    }
  }

  /** Makes the streams, and goes on with what an earlier link has taken. */
  async #open(): Promise<QueueContext> {
    const { nats, client, taken, robot, onBehalf, warn } = this.#options;
    const jobs = await FleetJobs.over(nats);
    await jobs.store.prepare();
    const { text } = powerCutNote(nats.info);
    warn(text);
    await taken.load().catch((error: Error) => {
      throw new TaskEngineError("STORE_FULL", `no jobs are taken from the fleet: ${error.message}`);
    });
    const context = { nats, client, jobs, taken, robot, onBehalf, leaving: this.#leaving.signal, warn };
    this.#context = context;
    for (const [id, { claim, begun }] of taken.open) {
      const message = { id, task: "", group: null, request: {}, sentAtMs: Date.now(), isIdempotent: false };
      const run = new JobRun(context, message, "", claim);
      this.#keep(id, run, run.resume(begun));
    }
    return context;
  }

  #keep(id: string, run: JobRun, running: Promise<void>): void {
    this.#runs.set(id, run);
    void running.finally(() => {
      this.#runs.delete(id);
      this.#pull();
    });
  }

  /** Jobs that could begin now. */
  get #room(): number {
    const { isConnected, isDraining, stopped, jobs, workers } = this.#options.view.seen;
    if (!isConnected || isDraining || stopped !== null || this.#leaving.signal.aborted) return 0;
    const others = Math.max(0, jobs.waiting + jobs.held - this.#jobsAtLook);
    return workers - others - this.#runs.size;
  }

  /**
   * Asks each queue that is not asked yet for one job. Of those that come at once, the engine takes
   * what has room.
   */
  #pull(): void {
    const { nats, robot } = this.#options;
    if (this.#room <= 0 || nats.isClosed()) return;
    const now = performance.now();
    const own = this.#queues.get(robotConsumer(robot));
    // Only the own queue is asked for signs: a hub that was away has forgotten all that was asked.
    if (own !== undefined && own.quietUntilMs > now && now - own.heardAtMs > linkPullSilenceMs) {
      for (const queue of this.#queues.values()) queue.quietUntilMs = 0;
    }
    for (const queue of this.#queues.values()) {
      if (queue.quietUntilMs > now) continue;
      queue.quietUntilMs = now + linkPullMs + linkReturnMs;
      queue.heardAtMs = now;
      const signs = queue === own ? { idle_heartbeat: nanoseconds(linkPullSignMs) } : {};
      const request = JSON.stringify({ batch: 1, expires: nanoseconds(linkPullMs), ...signs });
      const reply = queue.inbox.getSubject();
      nats.publish(`$JS.API.CONSUMER.MSG.NEXT.${jobsStream}.${queue.consumer}`, request, { reply });
    }
  }

  #hear(consumer: string, message: Msg): void {
    const queue = this.#queues.get(consumer);
    if (queue === undefined) return;
    const now = performance.now();
    queue.heardAtMs = now;
    const code = message.headers?.code ?? 0;
    if (code === heartbeat) return;
    queue.quietUntilMs = code === 0 || code === expired ? 0 : now + linkReturnMs;
    if (code === gone || message.headers?.description === "Consumer Deleted") {
      this.#prepareAtMs = now + linkReturnMs;
      this.#drop(queue);
    }
    if (code === 0) this.#take(queue, message);
    this.#pull();
  }

  /** The next look makes it again, if it is still wanted. */
  #drop({ consumer, inbox }: Queue): void {
    inbox.unsubscribe();
    this.#queues.delete(consumer);
  }

  #take({ group, prefix }: Queue, { subject, data, headers, reply: ack = "" }: Msg): void {
    const { nats, view, taken, warn } = this.#options;
    const context = this.#context;
    const id = checkedJobId(headers?.get("Nats-Msg-Id") ?? "");
    if (context === null) return;
    if (id === null) {
      warn(`a job at ${subject} has no id of letters and digits in its header Nats-Msg-Id: it is dropped`);
      return nats.publish(ack, "+TERM");
    }
    const known = this.#runs.get(id);
    if (known !== undefined) return known.again(ack);
    // An earlier link has taken it, and says how it ended.
    if (taken.has(id)) return nats.publish(ack, "+ACK");
    if (this.#room <= 0) return nats.publish(ack, "-NAK");
    const task = subject.slice(prefix.length);
    const listing = view.tasks.get(task);
    const isIdempotent = listing === undefined ? null : listing.idempotent === true;
    const request = data.length === 0 ? {} : decodeObject(data, "request");
    const message = { id, task, group, request, sentAtMs: sentAtMs(ack), isIdempotent };
    const run = new JobRun(context, message, ack);
    this.#keep(id, run, run.run());
  }
}

/** Statuses of JetStream in place of a message. */
const heartbeat = 100;
const expired = 408;
const gone = 503;

/**
 * ms since 1970: the time of a message by the server's clock, of `$JS.ACK.…`, whose two forms
 * differ in length.
 */
const sentAtMs = (ack: string): number => {
  const words = ack.split(".");
  return Number(words[words.length > shortAckWords ? 9 : 7]) / 1e6;
};
const shortAckWords = 9;
