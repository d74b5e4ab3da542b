/**
 * Publishes a program's values and asks data workers for it: finds the data worker that a topic
 * belongs to, and has one connection to each that it needs.
 *
 * `publish` returns at once. Where a data worker is behind or not there, some values wait here, and
 * then newer ones of a topic replace older ones, which are counted.
 */
import { publisherTopicsMax, reconnectMs, reconnectMsMax } from "../limits.ts";
import { TaskEngineError } from "../protocol/errors.ts";
import { type Frame, sizeOf } from "../protocol/frame.ts";
import { ownerOf } from "../protocol/owner.ts";
import { encodeStreamRequest, type StreamCommand } from "../protocol/stream.ts";
import { encodePublicationMeta, type PayloadType } from "../protocol/values.ts";
import { checkTopic, copyOf, encodePayload } from "./payload.ts";
import { PublishingLink, type PublishResult, type StreamAnswer } from "./publishing-link.ts";
import { MovedError } from "./refusal.ts";
import type { StreamDialer } from "./stream-link.ts";
import { TopicCounts } from "./topic-counts.ts";
import { type UnsentMessage, UnsentValues } from "./unsent-values.ts";

/** The ports of a data worker. */
export interface DataWorker {
  /** The port for subscribers of 0.2, as the router names it: topics are shared out by it. */
  readonly publications: string;
  /** Where this program reaches its stream port; null where it has none, in an earlier version. */
  readonly stream: string | null;
}

/** The way to a data worker without a stream port. */
interface OldWay {
  /** Returns false if the value is lost. */
  publish(topic: string, json: string): boolean;
  confirm(topic: string, json: string): Promise<void>;
}

export interface PublicationsOptions {
  readonly dialer: StreamDialer;
  /** Asks the engine, and rejects with TaskEngineError if it does not answer. */
  readonly find: () => Promise<readonly DataWorker[]>;
  readonly oldWay: OldWay;
  /** The program may block after each value, so that each leaves at once. */
  readonly flushesEach: boolean;
  /** The data worker has not taken `count` values that nobody asked to confirm. */
  readonly onRefused: (topic: string, error: TaskEngineError, count: number) => void;
}

export class Publications {
  readonly #options: PublicationsOptions;
  /** Data workers by the endpoint of publications; null before the engine has named them. */
  #workers: ReadonlyMap<string, DataWorker> | null = null;
  readonly #links = new Map<string, PublishingLink>();
  /** Data workers of topics, to spare the hashing. */
  readonly #owners = new Map<string, PublishingLink>();
  /** The link of all topics, where there is one data worker. */
  #only: PublishingLink | null = null;
  /** Values from the time before the engine has named a data worker. */
  readonly #early = new UnsentValues<UnsentMessage>();
  #finding: Promise<void> | null = null;
  #retry: Timer | undefined;
  #checkedTopic: string | null = null;
  #serials = 0;
  #isClosed = false;
  /** Values that were replaced by newer ones before they were sent, or for which there was no room. */
  readonly dropped = new TopicCounts(publisherTopicsMax);
  /** Values that the data worker has not taken. */
  readonly refused = new TopicCounts(publisherTopicsMax);

  constructor(options: PublicationsOptions) {
    this.#options = options;
  }

  /** Throws TaskEngineError for a topic or a value that cannot be published. */
  publish(topic: string, value: unknown, type: PayloadType | null): PublishResult {
    if (topic !== this.#checkedTopic) checkTopic(topic);
    this.#checkedTopic = topic;
    return this.send(topic, encodePayload(value, type), type);
  }

  /** As `publish`, a payload of a topic that are known to be right. */
  send(topic: string, payload: Frame, type: PayloadType | null): PublishResult {
    const link = this.#only ?? this.#linkOf(topic);
    if (link !== null) return link.publish(topic, encodePublicationMeta(type), payload, Date.now());
    if (this.#isOld) return this.#publishOld(topic, payload, type);
    return this.#publishEarly(topic, payload, type);
  }

  /** Publishes a value, and resolves once the data worker has it. Rejects with TaskEngineError. */
  async confirm(
    topic: string,
    value: unknown,
    type: PayloadType | null,
    waitMs: number,
  ): Promise<StreamAnswer["data"]> {
    checkTopic(topic);
    const payload = encodePayload(value, type);
    const answer = await this.#ask(topic, (link) => {
      const serial = this.#nextSerial();
      return link.request(serial, topic, [topic, encodePublicationMeta(type, serial), payload], waitMs);
    });
    if (answer === null) await this.#options.oldWay.confirm(topic, this.#jsonOf(payload, type));
    return answer?.data ?? null;
  }

  /** Asks the data worker of a topic. Null where that one is of an earlier version. */
  async command(topic: string, command: StreamCommand, waitMs: number): Promise<StreamAnswer | null> {
    return this.#ask(topic, (link) => this.#request(link, command, waitMs));
  }

  /** Asks all data workers. */
  async commandAll(command: StreamCommand, waitMs: number): Promise<StreamAnswer[]> {
    await this.#find();
    const links = [...(this.#workers?.values() ?? [])].map((worker) => this.#open(worker));
    return Promise.all(links.flatMap((link) => (link === null ? [] : [this.#request(link, command, waitMs)])));
  }

  /** Connects to all data workers that have a stream port. True once there has been a connection to each. */
  get hasReachedAll(): boolean {
    const workers = [...(this.#workers?.values() ?? [])];
    return workers.every((worker) => worker.stream === null || this.#open(worker)?.hasStood === true);
  }

  get isDrained(): boolean {
    return this.#early.isEmpty && [...this.#links.values()].every((link) => link.isDrained);
  }

  /** Resolves once nothing waits in this process any more. */
  async drained(): Promise<void> {
    if (!this.#early.isEmpty) await this.#find();
    await Promise.all([...this.#links.values()].map((link) => link.drained()));
  }

  /** Requests that wait for their answers. */
  get waiting(): number {
    let waiting = 0;
    for (const link of this.#links.values()) waiting += link.waiting;
    return waiting;
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#retry);
    for (const { topic } of this.#early) this.dropped.count(topic);
    for (const link of this.#links.values()) link.close("CLOSED", "the client was closed before the answer was there");
  }

  /* ── Publishing ── */

  #publishEarly(topic: string, payload: Frame, type: PayloadType | null): PublishResult {
    if (this.#isClosed) {
      this.dropped.count(topic);
      return "lost";
    }
    const frames = [topic, encodePublicationMeta(type), copyOf(payload)];
    const message = { topic, frames, bytes: sizeOf(payload), isAwaited: false };
    for (const old of this.#early.add(message)) this.dropped.count(old.topic);
    this.#findSoon(0);
    return "kept";
  }

  get #isOld(): boolean {
    return this.#workers !== null && this.#workers.size > 0;
  }

  #publishOld(topic: string, payload: Frame, type: PayloadType | null): PublishResult {
    if (this.#options.oldWay.publish(topic, this.#jsonOf(payload, type))) return "sent";
    this.dropped.count(topic);
    return "lost";
  }

  /** Throws TaskEngineError for a payload that is not JSON. */
  #jsonOf(payload: Frame, type: PayloadType | null): string {
    if (typeof payload === "string" && type === null) return payload;
    throw new TaskEngineError(
      "UNSUPPORTED_VERSION",
      "the engine is of an earlier version, which takes only JSON values",
    );
  }

  /* ── Requests ── */

  #nextSerial(): string {
    return `${++this.#serials}`;
  }

  /** Asks the data worker of a topic, and the next one if it belongs to that now. */
  async #ask(topic: string, request: (link: PublishingLink) => Promise<StreamAnswer>): Promise<StreamAnswer | null> {
    const link = await this.#findLinkOf(topic);
    if (link === null) return null;
    try {
      return await request(link);
    } catch (error) {
      if (!(error instanceof MovedError)) throw error;
      await this.#find();
      const next = this.#linkOf(topic);
      if (next === null || next === link) throw error;
      return request(next);
    }
  }

  #request(link: PublishingLink, command: StreamCommand, waitMs: number): Promise<StreamAnswer> {
    const serial = this.#nextSerial();
    return link.request(serial, "", encodeStreamRequest("CONTROL", serial, command), waitMs);
  }

  /* ── Data workers ── */

  /** null where there is none, or one without a stream port. */
  #linkOf(topic: string): PublishingLink | null {
    const known = this.#owners.get(topic);
    if (known !== undefined) return known;
    const workers = this.#workers;
    const owner = workers === null ? undefined : ownerOf(topic, workers.keys());
    const worker = owner === undefined ? undefined : workers?.get(owner);
    const link = worker === undefined ? null : this.#open(worker);
    if (link === null) return null;
    if (workers?.size === 1) this.#only = link;
    if (this.#owners.size >= publisherTopicsMax) this.#owners.clear();
    this.#owners.set(topic, link);
    return link;
  }

  async #findLinkOf(topic: string): Promise<PublishingLink | null> {
    if (this.#isClosed) throw new TaskEngineError("CLOSED", "the client is closed");
    const known = this.#linkOf(topic);
    if (known === null ? !this.#isOld : !known.stands) await this.#find();
    return this.#linkOf(topic);
  }

  #open({ publications, stream }: DataWorker): PublishingLink | null {
    const known = this.#links.get(publications);
    if (known !== undefined || stream === null || this.#isClosed) return known ?? null;
    const { dialer, flushesEach } = this.#options;
    const link = new PublishingLink(stream, dialer, {
      flushesEach,
      onDropped: (topic) => this.dropped.count(topic),
      onRefused: (topic, error, count) => {
        this.refused.count(topic, count);
        this.#options.onRefused(topic, error, count);
      },
      onChanged: () => this.#findSoon(reconnectMs),
    });
    this.#links.set(publications, link);
    return link;
  }

  /** Asks the engine for its data workers. Rejects if it has none. */
  #find(): Promise<void> {
    this.#finding ??= this.#options
      .find()
      .then((workers) => this.found(workers))
      .finally(() => {
        this.#finding = null;
      });
    return this.#finding;
  }

  /** As `#find`, after a pause, and again and again while it is in vain. */
  #findSoon(ms: number): void {
    if (this.#isClosed || this.#retry !== undefined || this.#finding !== null) return;
    const isAnyAway = (): boolean => [...this.#links.values()].some((link) => !link.stands);
    this.#retry = setTimeout(async () => {
      this.#retry = undefined;
      const isFound = await this.#find().then(
        () => true,
        () => false, // A program that wants to know asks for a confirmation.
      );
      if (!isFound || isAnyAway()) this.#findSoon(reconnectMsMax);
    }, ms);
  }

  /** The engine has named its data workers. Throws TaskEngineError if there is none. */
  found(workers: readonly DataWorker[]): void {
    if (workers.length === 0) throw new TaskEngineError("UNAVAILABLE", "the engine has no data worker at present");
    this.#workers = new Map(workers.map((worker) => [worker.publications, worker]));
    this.#owners.clear();
    this.#only = null;
    const closed: PublishingLink[] = [];
    for (const [publications, link] of this.#links) {
      if (this.#workers.get(publications)?.stream === link.endpoint) continue;
      this.#links.delete(publications);
      closed.push(link);
    }
    for (const link of [...this.#links.values(), ...closed]) link.handOver(({ topic }) => this.#linkOf(topic));
    for (const link of closed) link.close("UNAVAILABLE", `the data worker at ${link.endpoint} is gone`);
    for (const message of [...this.#early]) this.#sendEarly(message);
  }

  #sendEarly(message: UnsentMessage): void {
    this.#early.delete(message);
    const { topic, frames } = message;
    const link = this.#linkOf(topic);
    if (link !== null) return void link.keep(message);
    const [, , payload = ""] = frames;
    if (typeof payload === "string" && this.#options.oldWay.publish(topic, payload)) return;
    this.dropped.count(topic);
  }
}
