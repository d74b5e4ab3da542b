/**
 * Values of the robot's topics for its fleet: each goes to `te.ROBOT.data.TOPIC`, and the newest of
 * a topic into a bucket of JetStream. While NATS is lost the newest ones are kept, and all of them
 * are sent once it is there again: whoever has one already knows it by its place in its topic.
 */
import type { MsgHdrsImpl, NatsConnection } from "@nats-io/transport-node";
import type { Client, Subscription, SubscriptionEvent, TopicValue } from "../client/client.ts";
import {
  linkLookMs,
  linkMirrorBytesMax,
  linkMirrorHeaderBytesMax,
  linkMirrorKeptMs,
  linkMirrorStoreMs,
  linkMirrorTopicsMax,
} from "../limits.ts";
import { dataBucket, fleetHeaders, isMirrored, type MirrorRule, subjectOf } from "../protocol/fleet.ts";
import { encodePublicationMeta, seqPrefix } from "../protocol/values.ts";

interface MirrorOptions {
  readonly nats: NatsConnection;
  readonly Headers: typeof MsgHdrsImpl;
  readonly client: Client;
  readonly robot: string;
  readonly rules: readonly MirrorRule[];
  /** Writes a line to the log. */
  readonly warn: (line: string) => void;
}

export class Mirror {
  readonly #options: MirrorOptions;
  /** Subscriptions by the places of their rules. */
  readonly #subscriptions = new Map<number, Subscription>();
  readonly #retries = new Set<Timer>();
  /** The newest value of each topic that was mirrored, and their bytes. */
  readonly #newest = new Map<string, TopicValue>();
  #bytes = 0;
  /** Topics whose newest value is not in the bucket yet. */
  readonly #unstored = new Set<string>();
  #storing: Timer | undefined;
  #isBucketThere = false;
  #isConnected = true;
  #isClosed = false;
  readonly #warned = new Set<string>();

  constructor(options: MirrorOptions) {
    this.#options = options;
  }

  start(): void {
    const { rules } = this.#options;
    if (rules.length === 0) return;
    void this.#watchConnection();
    for (const place of rules.keys()) this.#subscribe(place);
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#storing);
    for (const retry of this.#retries) clearTimeout(retry);
    for (const subscription of this.#subscriptions.values()) void subscription.return();
  }

  #subscribe(place: number): void {
    const { client, rules } = this.#options;
    const rule = rules[place];
    if (rule === undefined || this.#isClosed) return;
    const onEvent = (event: SubscriptionEvent): void => {
      if (event.type === "removed") this.#forget(event.topic);
      if (event.type !== "failed") return;
      // There is no engine or no data worker yet, or a right is missing: neither ends the link.
      this.#warnOnce(`topics ${rule.prefix} are not mirrored: ${event.error.message}`);
      const retry = setTimeout(() => {
        this.#retries.delete(retry);
        this.#subscribe(place);
      }, linkLookMs);
      this.#retries.add(retry);
    };
    const onValue = (value: TopicValue): void => {
      if (this.#ruleOf(value.topic) === rule) this.#take(value);
    };
    const { prefix, maxHz } = rule;
    this.#subscriptions.set(place, client.subscribe([prefix], { mode: "latest", maxHz, onValue, onEvent }));
  }

  /** The longest one that fits: of two rules for one topic only one counts. */
  #ruleOf(topic: string): MirrorRule | undefined {
    const fitting = this.#options.rules.filter(({ prefix }) => topic.startsWith(prefix));
    return fitting.toSorted((a, b) => b.prefix.length - a.prefix.length)[0];
  }

  #take(value: TopicValue): void {
    const { nats } = this.#options;
    const { topic, bytes, seq } = value;
    const bytesMax = (nats.info?.max_payload ?? Number.POSITIVE_INFINITY) - linkMirrorHeaderBytesMax;
    const refusal =
      seq === 0
        ? "the engine is of an earlier version"
        : !isMirrored(topic)
          ? "NATS has no such subject"
          : bytes.length > bytesMax
            ? `a value has more than the ${bytesMax} bytes that NATS' limit (max_payload) lets pass`
            : !this.#newest.has(topic) && this.#newest.size >= linkMirrorTopicsMax
              ? `${linkMirrorTopicsMax} topics are mirrored already`
              : null;
    if (refusal !== null) return this.#warnOnce(`the topic ${JSON.stringify(topic)} is not mirrored: ${refusal}`);
    this.#keep(value, bytes.length);
    if (!this.#isConnected) return;
    this.#publish(`${subjectOf({ robot: this.#options.robot })}.data.${topic}`, value);
    this.#storeSoon(topic);
  }

  /** Keeps a value. The oldest values beyond the bound go: they were sent, unless NATS is lost. */
  #keep(value: TopicValue, bytes: number): void {
    this.#forget(value.topic);
    this.#newest.set(value.topic, value);
    this.#bytes += bytes;
    for (const topic of this.#newest.keys()) {
      if (this.#bytes <= linkMirrorBytesMax) break;
      this.#forget(topic);
    }
  }

  #forget(topic: string): void {
    const value = this.#newest.get(topic);
    if (value === undefined) return;
    this.#newest.delete(topic);
    this.#unstored.delete(topic);
    this.#bytes -= value.bytes.length;
  }

  #publish(subject: string, value: TopicValue): void {
    const { nats, Headers } = this.#options;
    const { seq, epoch, pack, contentType, dtype, shape, bytes } = value;
    const type = contentType === undefined ? null : { contentType, dtype, shape };
    const meta = seqPrefix(epoch, seq) + encodePublicationMeta(type, undefined, `${pack}`).slice(1);
    const headers = Headers.fromRecord({
      [fleetHeaders.contentType]: [contentType ?? "application/json"],
      [fleetHeaders.meta]: [meta],
    });
    if (!nats.isClosed()) nats.publish(subject, bytes, { headers });
  }

  #storeSoon(topic: string): void {
    this.#unstored.add(topic);
    this.#storing ??= setTimeout(() => {
      this.#storing = undefined;
      void this.#store();
    }, linkMirrorStoreMs);
  }

  async #store(): Promise<void> {
    const { nats, robot } = this.#options;
    if (!this.#isConnected || nats.isClosed()) return;
    try {
      if (!this.#isBucketThere) {
        const { Kvm } = await import("@nats-io/kv");
        await new Kvm(nats).create(dataBucket, { history: 1, ttl: linkMirrorKeptMs });
        this.#isBucketThere = true;
      }
    } catch (error) {
      this.#warnOnce(`the newest values are not kept for the fleet: ${(error as Error).message}`);
      return;
    }
    for (const topic of this.#unstored) {
      const value = this.#newest.get(topic);
      if (value !== undefined) this.#publish(`$KV.${dataBucket}.${robot}.${topic}`, value);
    }
    this.#unstored.clear();
  }

  async #watchConnection(): Promise<void> {
    const { nats, robot } = this.#options;
    for await (const { type } of nats.status()) {
      if (type === "disconnect") this.#isConnected = false;
      if (type !== "reconnect") continue;
      this.#isConnected = true;
      // The hub may be another one, and what was sent just before the loss may not have arrived.
      this.#isBucketThere = false;
      for (const [topic, value] of this.#newest) {
        this.#publish(`${subjectOf({ robot })}.data.${topic}`, value);
        this.#storeSoon(topic);
      }
    }
  }

  #warnOnce(line: string): void {
    if (this.#warned.has(line) || this.#warned.size >= linkMirrorTopicsMax) return;
    this.#warned.add(line);
    this.#options.warn(line);
  }
}
