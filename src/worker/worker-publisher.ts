/**
 * Publishes the values of tasks and sources: straight to the data workers once there is a
 * connection to each; before that, and where they have no stream port, by PUBLISH to the router. A
 * worker that publishes nothing asks for nothing and connects to nothing.
 */

import { copyOf } from "../data/payload.ts";
import type { Publications } from "../data/publications.ts";
import type { PublishResult } from "../data/publishing-link.ts";
import { UnsentValues } from "../data/unsent-values.ts";
import { clientLingerMs, goodbyeMs, publishRetryMs } from "../limits.ts";
import { warn } from "../process/log.ts";
import { reachableFrom } from "../protocol/address.ts";
import { TaskEngineError } from "../protocol/errors.ts";
import { type Frame, sizeOf, textOf } from "../protocol/frame.ts";
import { encodeDataText } from "../protocol/frames.ts";
import type { DataWorkerPorts } from "../protocol/ready.ts";
import type { PayloadType } from "../protocol/values.ts";
import type { SocketOptions } from "../transport/zmq/options.ts";

/** The part of the connection to the router that this needs. */
interface RouterLink {
  askOwners(): void;
  /** Takes a publication, a DATA frame; returns false if the router does not read. */
  publish(topic: string, dataFrame: string, task: string): boolean;
}

interface WorkerPublisherOptions {
  readonly link: () => RouterLink;
  /** The router's backend, as `BackendLink` has it, and its keys. */
  readonly backend: string;
  readonly keys: SocketOptions;
  /** `[WORKER-<pid>(TASK)]`, before each line of the log. */
  readonly tag: string;
}

/** A value, of bytes or, without a type, JSON. */
interface WorkerValue {
  readonly topic: string;
  readonly payload: Frame;
  readonly type: PayloadType | null;
  readonly task: string;
}

export class WorkerPublisher {
  readonly #options: WorkerPublisherOptions;
  #hasAsked = false;
  /** Null before the router has named data workers. */
  #publications: Publications | null = null;
  #loading: Promise<void> | null = null;
  /** There has been a connection to each data worker. */
  #isDirect = false;
  #owners: readonly DataWorkerPorts[] = [];
  /** Those who wait for OWNERS. */
  #askers: ((owners: readonly DataWorkerPorts[]) => void)[] = [];
  /**
   * Bytes from the time before the router has named data workers, and JSON that it does not take
   * yet.
   */
  readonly #unsent = new UnsentValues<WorkerValue & { readonly bytes: number; readonly isAwaited: boolean }>();
  /** Runs while JSON waits. */
  #retry: Timer | undefined;
  /** The task whose value is being published. */
  #task = "";
  #isClosed = false;
  readonly #warnedOf = new Set<string>();

  constructor(options: WorkerPublisherOptions) {
    this.#options = options;
  }

  /**
   * Publishes a value; returns false if it is lost. Throws TaskEngineError for bytes that a data
   * worker of an earlier version does not take.
   * @param payload bytes, or JSON if there is no type
   * @param task for people
   */
  publish(topic: string, payload: Frame, type: PayloadType | null, task: string): boolean {
    return this.#send({ topic, payload, type, task }) !== "lost";
  }

  /** The router knows this worker now; it may be another router. */
  welcome(): void {
    if (this.#hasAsked) this.#ask();
  }

  /** The router names the data workers that share the topics. */
  owners(owners: readonly DataWorkerPorts[]): void {
    this.#owners = owners;
    for (const resolve of this.#askers.splice(0)) resolve(owners);
    if (owners.length === 0 || !this.#hasAsked) return;
    if (this.#publications !== null) this.#publications.found(this.#dataWorkers);
    else this.#loading ??= this.#load();
  }

  /** Waits, at most `clientLingerMs`, until what was published has left this process. */
  async close(): Promise<void> {
    await this.#loading;
    this.#isClosed = true;
    this.#sendUnsent();
    const publications = this.#publications;
    if (publications === null) return;
    if (!publications.isDrained) {
      const drained = publications.drained().catch(() => undefined); // The count below tells.
      await Promise.race([drained, Bun.sleep(clientLingerMs)]);
    }
    const { total } = publications.dropped;
    publications.close();
    const lost = publications.dropped.total - total;
    if (lost > 0) warn(`${this.#options.tag} ${lost} values are lost: the data worker did not take them in time`);
  }

  /* ── Data workers ── */

  #ask(): void {
    this.#hasAsked = true;
    this.#options.link().askOwners();
  }

  async #load(): Promise<void> {
    const { openPublications } = await import("./direct-publications.ts");
    const { backend, keys } = this.#options;
    // They may have left meanwhile; the next OWNERS begins anew.
    if (this.#owners.length === 0) {
      this.#loading = null;
      return;
    }
    const publications = openPublications(backend, keys, {
      find: () => this.#find(),
      oldWay: {
        publish: (topic, payload) => this.#byRouter({ topic, payload, type: null, task: this.#task }) !== "lost",
        confirm: () => Promise.reject(new TaskEngineError("UNSUPPORTED_VERSION", "a worker confirms no values")),
      },
      onRefused: (topic, { code, message }) => this.#warn(code, topic, `values are not taken: ${code}: ${message}`),
    });
    publications.found(this.#dataWorkers);
    // The connections begin now, while the task may wait for something else.
    this.#isDirect = publications.hasReachedAll;
    this.#publications = publications;
    this.#sendUnsent();
  }

  /** Rejects with TaskEngineError if the router does not answer. */
  async #find() {
    const { promise, resolve, reject } = Promise.withResolvers<readonly DataWorkerPorts[]>();
    this.#askers.push(resolve);
    this.#ask();
    const timer = setTimeout(() => {
      this.#askers = this.#askers.filter((asker) => asker !== resolve);
      reject(new TaskEngineError("NO_ANSWER", "the router does not answer"));
    }, goodbyeMs);
    await promise.finally(() => clearTimeout(timer));
    return this.#dataWorkers;
  }

  get #dataWorkers() {
    const { backend } = this.#options;
    return this.#owners.map(({ publications, stream }) => ({
      publications,
      stream: stream === undefined ? null : reachableFrom(backend, stream),
    }));
  }

  /* ── The ways of a value ── */

  #send(value: WorkerValue): PublishResult {
    const { type, task } = value;
    this.#task = task;
    const publications = this.#publications;
    if (publications === null && !this.#hasAsked) this.#ask();
    this.#isDirect ||= publications?.hasReachedAll === true;
    if (publications !== null && (this.#isDirect || type !== null)) return this.#directly(publications, value);
    return type === null ? this.#byRouter(value) : this.#keep(value);
  }

  #directly(publications: Publications, { topic, payload, type }: WorkerValue): PublishResult {
    // Values that the router has not taken go the same way, and first.
    if (this.#retry !== undefined) this.#sendUnsent();
    const { total } = publications.dropped;
    const result = publications.send(topic, payload, type);
    if (publications.dropped.total > total) {
      this.#warn("DROPPED", topic, "a value is dropped, since the data worker does not read or is not there");
    }
    return result;
  }

  #byRouter(value: WorkerValue): PublishResult {
    const { topic, payload, task } = value;
    const isNext = this.#retry === undefined;
    if (isNext && this.#options.link().publish(topic, encodeDataText(textOf(payload)), task)) return "sent";
    if (!this.#isClosed) this.#retry ??= setTimeout(() => this.#sendUnsent(), publishRetryMs);
    return this.#keep(value);
  }

  #keep(value: WorkerValue): PublishResult {
    const { topic, payload, type } = value;
    const message = { ...value, payload: copyOf(payload), bytes: sizeOf(payload), isAwaited: false };
    const dropped = this.#isClosed ? [message] : this.#unsent.add(message);
    if (dropped.length > 0) {
      const why = type === null ? "does not read" : "has not named the data workers yet";
      this.#warn(why, topic, `a value is lost, since the router ${why}`);
    }
    return dropped.includes(message) ? "lost" : "kept";
  }

  #sendUnsent(): void {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    for (const value of [...this.#unsent]) {
      this.#unsent.delete(value);
      try {
        this.#send(value);
      } catch (error) {
        this.#warn("TYPE", value.topic, `a value is lost: ${error instanceof Error ? error.message : error}`);
      }
    }
  }

  /** One line for each kind. */
  #warn(kind: string, topic: string, what: string): void {
    if (this.#warnedOf.has(kind)) return;
    this.#warnedOf.add(kind);
    warn(
      `${this.#options.tag} Topic ${JSON.stringify(topic)} of task ${this.#task}: ${what}; further ones are not logged`,
    );
  }
}
