/**
 * The part of a subscription that comes from one data worker, by a connection of its own.
 *
 * The data worker sends only as many bytes as it is granted, so what a program does not read stays
 * there. In the mode `all` bytes are granted anew when the program has taken them; in the mode
 * `latest` when they have come, and a newer value replaces the one of its topic here.
 */

import { placesIn } from "../data/framed.ts";
import { refusalIn } from "../data/refusal.ts";
import { type StreamConnection, type StreamDialer, StreamLink } from "../data/stream-link.ts";
import { copyValue, type TopicValue } from "../data/topic-value.ts";
import {
  historyMsMax,
  latestPauseMs,
  latestWindowBytes,
  subscriberMissedMs,
  subscriberTopicsMax,
  subscriberWindowBytes,
} from "../limits.ts";
import type { TaskEngineError } from "../protocol/errors.ts";
import { encodeStreamRequest, type StreamReply } from "../protocol/stream.ts";
import { hasEpoch, readEpoch, readSeq } from "../protocol/values.ts";
import { sizeBytes } from "../transport/shm/framing.ts";

/** The options of a subscription as they travel. */
export interface FeedOptions {
  readonly topics: readonly string[];
  readonly prefixes: readonly string[];
  readonly mode: "all" | "latest";
  readonly maxHz?: number | undefined;
  readonly lastMs?: number | undefined;
}

interface FeedHooks {
  /** There are values to take. */
  readonly onValues: (feed: StreamFeed) => void;
  /** The data worker has refused the subscription, or taken it back. */
  readonly onRefused: (error: TaskEngineError) => void;
  readonly onDropped: (topic: string, count: number) => void;
  /** A topic has begun a new epoch. */
  readonly onRestart: (topic: string) => void;
  /** DROPPED, STALE, REMOVED or MOVED. */
  readonly onNotice: (reply: StreamReply) => void;
  readonly onLost: () => void;
  readonly onMalformed: () => void;
}

/** The newest value of a topic that has come. */
interface Reached {
  readonly topic: string;
  epoch: string;
  seq: number;
}

interface Unread {
  readonly value: TopicValue;
  readonly bytes: number;
}

const serial = "s";

export class StreamFeed {
  readonly #options: FeedOptions;
  readonly #hooks: FeedHooks;
  readonly #link: StreamLink;
  #connection: StreamConnection | null = null;
  readonly #isLatest: boolean;
  /** Every value is wanted, so a gap is a loss. */
  readonly #wantsAll: boolean;
  readonly #windowBytes: number;
  /** bytes granted of which no value has come, and those that are to be granted anew. */
  #granted = 0;
  #owed = 0;
  readonly #reached = new Map<string, Reached>();
  #last: Reached | null = null;
  #lastName: Uint8Array = new Uint8Array(0);
  /** Values that were not taken: a queue in the mode `all`, else the newest of each topic. */
  #queue: Unread[] = [];
  #head = 0;
  readonly #newest = new Map<Reached, TopicValue>();
  #readAt = Number.NEGATIVE_INFINITY;
  /** Values may be old until the data worker has answered. */
  #isSyncing = false;
  #heardAt: number | null = null;

  /** @param endpoint of the data worker's stream port */
  constructor(endpoint: string, dialer: StreamDialer, options: FeedOptions, hooks: FeedHooks) {
    this.#options = options;
    this.#hooks = hooks;
    this.#isLatest = options.mode === "latest";
    this.#wantsAll = !this.#isLatest && options.maxHz === undefined;
    this.#windowBytes = this.#isLatest ? latestWindowBytes : subscriberWindowBytes;
    this.#link = new StreamLink(endpoint, dialer, {
      onUp: (connection) => this.#up(connection),
      onLost: () => this.#lost(),
      onValue: (raw, start, end) => this.#takeValue(raw, start, end),
      onReply: (reply) => this.#takeReply(reply),
      onMalformed: hooks.onMalformed,
      onRead: () => this.#afterRead(),
    });
  }

  get endpoint(): string {
    return this.#link.endpoint;
  }

  /** The next value; undefined if there is none now. */
  take(): TopicValue | undefined {
    return this.#isLatest ? this.#takeNewest() : this.#takeOldest();
  }

  close(): void {
    this.#link.close();
    this.#connection = null;
    this.#queue = [];
    this.#head = 0;
    this.#newest.clear();
  }

  /* ── The connection ── */

  #up(connection: StreamConnection): void {
    this.#connection = connection;
    this.#granted = this.#windowBytes;
    this.#owed = 0;
    this.#isSyncing = false;
    const { topics, prefixes, mode, maxHz } = this.#options;
    const request = { topics, prefixes, mode, maxHz, lastMs: this.#lastMs, credit: this.#windowBytes };
    connection.gather(encodeStreamRequest("SUBSCRIBE", serial, request));
    connection.flush();
  }

  /**
   * After a loss, values of the time since then are wanted; those that came already are skipped.
   */
  get #lastMs(): number | undefined {
    if (this.#heardAt === null) return this.#options.lastMs;
    if (!this.#wantsAll) return 0;
    return Math.min(historyMsMax, Math.ceil(performance.now() - this.#heardAt + subscriberMissedMs));
  }

  #lost(): void {
    this.#connection = null;
    this.#hooks.onLost();
  }

  #grant(sync: boolean): void {
    const connection = this.#connection;
    if (connection === null) return;
    const credit = Math.max(1, this.#owed);
    const request = sync ? { credit, sync } : { credit };
    if (connection.gather(encodeStreamRequest("CREDIT", serial, request)) !== "sent") return;
    connection.flush();
    this.#granted += credit;
    this.#owed = 0;
  }

  #owe(bytes: number): void {
    this.#owed += bytes;
    if (this.#owed >= this.#windowBytes / 4) this.#grant(false);
  }

  /* ── Values ── */

  #takeValue(raw: Buffer, start: number, end: number): void {
    const places = placesIn(raw, start, end);
    if (places === null) return this.#hooks.onMalformed();
    const { nameAt, nameEnd, metaAt, metaEnd } = places;
    const bytes = end - start + sizeBytes;
    this.#granted -= bytes;
    const seq = readSeq(raw, metaAt, metaEnd);
    if (seq === 0) return this.#hooks.onMalformed();
    const reached = this.#reachedOf(raw, nameAt, nameEnd);
    if (!hasEpoch(raw, metaAt, reached.epoch)) this.#begin(reached, readEpoch(raw, metaAt), seq);
    else if (seq <= reached.seq) return this.#owe(bytes);
    else if (this.#wantsAll && seq > reached.seq + 1) this.#hooks.onDropped(reached.topic, seq - reached.seq - 1);
    reached.seq = seq;
    const value = copyValue(reached.topic, seq, raw, metaAt, metaEnd, end);
    if (this.#isLatest) {
      this.#newest.set(reached, value);
      this.#owed += bytes;
    } else this.#queue.push({ value, bytes });
  }

  #begin(reached: Reached, epoch: string, seq: number): void {
    const isRestart = reached.epoch !== "";
    reached.epoch = epoch;
    if (!isRestart) return;
    this.#hooks.onRestart(reached.topic);
    if (this.#wantsAll && seq > 1) this.#hooks.onDropped(reached.topic, seq - 1);
  }

  /** Most values are of the same topic as the last one. */
  #reachedOf(raw: Buffer, start: number, end: number): Reached {
    const last = this.#last;
    const lastName = this.#lastName;
    if (last !== null && end - start === lastName.length) {
      let index = 0;
      while (index < lastName.length && raw[start + index] === lastName[index]) index++;
      if (index === lastName.length) return last;
    }
    const topic = raw.toString("utf8", start, end);
    let reached = this.#reached.get(topic);
    if (reached === undefined) {
      reached = { topic, epoch: "", seq: 0 };
      if (this.#reached.size >= subscriberTopicsMax) this.#reached.clear();
      this.#reached.set(topic, reached);
    }
    this.#last = reached;
    this.#lastName = new Uint8Array(raw.subarray(start, end));
    return reached;
  }

  #takeOldest(): TopicValue | undefined {
    const unread = this.#queue[this.#head];
    if (unread === undefined) return undefined;
    this.#head++;
    if (this.#head === this.#queue.length) {
      this.#queue = [];
      this.#head = 0;
    }
    this.#owe(unread.bytes);
    return unread.value;
  }

  /** After a pause of the program, values of that time may still be on their way. */
  #takeNewest(): TopicValue | undefined {
    if (performance.now() - this.#readAt > latestPauseMs) this.#link.read();
    if (this.#isSyncing) return undefined;
    for (const [reached, value] of this.#newest) {
      this.#newest.delete(reached);
      return value;
    }
    return undefined;
  }

  #afterRead(): void {
    const now = performance.now();
    const hasPaused = now - this.#readAt > latestPauseMs;
    this.#readAt = now;
    this.#heardAt = now;
    if (this.#isLatest) {
      // With bytes left of what was granted, everything newer would have come, too.
      if (hasPaused && this.#granted <= 0 && !this.#isSyncing) {
        this.#isSyncing = true;
        this.#grant(true);
      } else this.#owe(0);
      if (this.#isSyncing || this.#newest.size === 0) return;
    } else if (this.#queue.length === 0) return;
    this.#hooks.onValues(this);
  }

  #takeReply(reply: StreamReply): void {
    switch (reply.type) {
      case "ACK":
        this.#isSyncing = false;
        return;
      case "ERR":
        return this.#hooks.onRefused(refusalIn(reply.data).error);
      default:
        return this.#hooks.onNotice(reply);
    }
  }
}
