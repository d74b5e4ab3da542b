/**
 * The entries on their way to the journal: numbered, sent in messages of several, and kept until it
 * has confirmed them. Nothing waits for the disk but what depends on an entry.
 */
import {
  journalAbsentMs,
  journalEntriesMax,
  journalMessageBytesMax,
  journalUnconfirmedBytesMax,
  journalUnconfirmedMax,
} from "../limits.ts";
import type { ErrorBody } from "../protocol/errors.ts";
import { type Frame, sizeOf } from "../protocol/frame.ts";
import type { JournalEntry, JournalReport } from "../protocol/journal.ts";
import { type Effect, toWorker } from "./events.ts";
import type { BrokerState } from "./state.ts";

/** The callback for an entry that is on the disk, or for the reason why it is not. */
type OnSettled = (failure: string | null, now: number) => Effect[];

export class JournalWriter {
  readonly #unconfirmed: BrokerState["unconfirmed"] = new Map();
  #bytes = 0;
  #lastNumber = 0;
  /** The number of the last entry that the present journal was sent. */
  #lastSent = 0;
  /** Routing id of the journal; null while there is none. */
  #key: string | null = null;
  /** ms, when its absence was noticed. */
  #absentSince: number | null = null;
  /** The jobs that an earlier router has left are known. */
  isRecovered = false;
  report: JournalReport | null = null;

  get key(): string | null {
    return this.#key;
  }

  /**
   * Why no durable job can be accepted; null if one can. It may have to wait for a journal that is
   * just being started. @param bytes of its frame
   */
  whyClosed(bytes: number, now: number): ErrorBody | null {
    const refuse = (message: string): ErrorBody => ({ code: "STORE_FULL", message });
    if (this.#key === null) {
      this.#absentSince ??= now;
      if (now - this.#absentSince > journalAbsentMs) return refuse("the journal is not there; see the engine's log");
    }
    const failure = this.report?.failure ?? null;
    if (failure !== null) return refuse(`the journal cannot be written: ${failure}`);
    if (this.#unconfirmed.size < journalUnconfirmedMax && this.#bytes + bytes <= journalUnconfirmedBytesMax)
      return null;
    return refuse(`${this.#unconfirmed.size} entries wait for the journal's disk already; ask again later`);
  }

  get isEmpty(): boolean {
    return this.#unconfirmed.size === 0;
  }

  /** All that was appended is on the disk, or cannot get there. */
  get isQuiet(): boolean {
    return this.#unconfirmed.size === 0 || this.#key === null || (this.report?.failure ?? null) !== null;
  }

  get hasUnsent(): boolean {
    return this.#lastSent < this.#lastNumber && this.#key !== null;
  }

  append(entry: JournalEntry, body: Frame, onSettled: OnSettled): void {
    this.#unconfirmed.set(++this.#lastNumber, { entry, body, onSettled });
    this.#bytes += sizeOf(body);
  }

  /** The journal has joined: all that is not confirmed is sent to it (again). */
  join(key: string): void {
    this.#key = key;
    this.#absentSince = null;
    this.#lastSent = 0;
  }

  /** The journal is gone. */
  leave(key: string): void {
    if (this.#key === key) this.#key = null;
  }

  /** Messages with all that was not sent. */
  flush(): Effect[] {
    const key = this.#key;
    if (key === null) return [];
    const effects: Effect[] = [];
    let from = 0;
    let bytes = 0;
    let entries: JournalEntry[] = [];
    let bodies: Frame[] = [];
    const send = (): void => {
      if (entries.length > 0) effects.push(toWorker(key, { type: "APPEND", from, entries }, bodies));
      entries = [];
      bodies = [];
      bytes = 0;
    };
    for (const [number, { entry, body }] of this.#unconfirmed) {
      if (number <= this.#lastSent) continue;
      const size = sizeOf(body);
      const isNext = number === from + entries.length;
      if (!isNext || entries.length === journalEntriesMax || bytes + size > journalMessageBytesMax) send();
      if (entries.length === 0) from = number;
      entries.push(entry);
      bodies.push(body);
      bytes += size;
    }
    send();
    this.#lastSent = this.#lastNumber;
    return effects;
  }

  /** COMMITTED. @param failure why the entries are not on the disk; null if they are */
  confirm(through: number, failure: string | null, now: number): Effect[] {
    const effects: Effect[] = [];
    for (const [number, { body, onSettled }] of this.#unconfirmed) {
      if (number > through) break;
      this.#unconfirmed.delete(number);
      this.#bytes -= sizeOf(body);
      effects.push(...onSettled(failure, now));
    }
    return effects;
  }
}
