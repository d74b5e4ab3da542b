/**
 * The journal: takes entries, commits those that have come together in one transaction, and says
 * what is on the disk. Where the disk refuses, it says so and tries again with the next entries. A
 * damaged file is set aside, and an empty one takes its place.
 */
import { historyDayBytesMax, historyRunBytes, historyWaitingBytesMax, recoveredJobsMax } from "../limits.ts";
import { type Frame, sizeOf, textOf } from "../protocol/frame.ts";
import type { JournalEntry, JournalReport, KeptSchedule } from "../protocol/journal.ts";
import { StartError } from "../transport/start-error.ts";
import { isDamage, isDiskFailure, setAside } from "./file.ts";
import { type HistoryItem, type JournalItem, JournalStore, type KeptJobs } from "./store.ts";

/** The outcome of the entries up to the one with this number. */
interface Commit {
  readonly through: number;
  /** Why they are not on the disk; null if they are. */
  readonly failure: string | null;
}

interface JournalOptions {
  readonly path: string;
  /** A damaged file was set aside under this name. */
  readonly onDamaged: (name: string, why: string) => void;
  /** ms since 1970 */
  readonly now?: () => number;
  /** bytes of history that a day may have. */
  readonly historyDayBytes?: number;
}

export class Journal implements Disposable {
  readonly #options: JournalOptions;
  readonly #now: () => number;
  readonly #historyDayBytes: number;
  #store: JournalStore | null = null;
  /** Why nothing can be written at present. */
  #failure: string | null = null;
  #damaged: string | null = null;
  /** A write has failed: what the write-ahead log has beyond it may not be on the disk. */
  #isSuspect = false;
  #items: JournalItem[] = [];
  #through = 0;
  #history: HistoryItem[] = [];
  #historyWaitingBytes = 0;
  #historyDropped = 0;
  /** Set when a router begins to read: ended jobs up to this place are too old for it. */
  #endedAfter = 0;

  /** Throws StartError for a file or folder that must not be used. */
  constructor(options: JournalOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#historyDayBytes = options.historyDayBytes ?? historyDayBytesMax;
    this.#attempt(() => undefined);
  }

  /** Takes entries, to be committed by `commit`. @param from the number of the first */
  append(from: number, entries: readonly JournalEntry[], bodies: readonly Frame[]): void {
    for (const [index, entry] of entries.entries()) {
      const body = bodies[index] ?? "";
      if (entry.entry === "log" || entry.entry === "ran") this.#remember({ entry, body });
      else this.#items.push({ entry, body });
    }
    this.#through = from + entries.length - 1;
  }

  /** Puts on the disk what has come since. Returns null if that is nothing. */
  commit(): Commit | null {
    const through = this.#through;
    if (through === 0) return null;
    const items = this.#items;
    this.#items = [];
    this.#through = 0;
    if (items.length > 0) this.#attempt((store) => store.commit(items));
    else return { through, failure: null };
    return { through, failure: this.#failure };
  }

  /**
   * The jobs from this place on, of ended ones that are no dead letters only the newest, and from
   * the first place also the schedules. Returns null while they cannot be read.
   */
  read(from: number): (KeptJobs & { readonly schedules: readonly KeptSchedule[] }) | null {
    if (from === 0) this.flushHistory();
    return this.#attempt((store) => {
      if (from === 0) this.#endedAfter = store.placeBefore(recoveredJobsMax);
      return { ...store.read(from, this.#endedAfter), schedules: from === 0 ? store.readSchedules() : [] };
    });
  }

  /** The log of a job, written already or not; empty for none, and where it cannot be read. */
  logOf(job: string): string {
    const waiting = this.#history.findLast(({ entry }) => entry.entry === "log" && entry.job === job);
    if (waiting !== undefined) return textOf(waiting.body);
    return this.#attempt((store) => store.logOf(job)) ?? "";
  }

  /** Removes ended jobs that are beyond the retention. */
  retain(): void {
    this.#attempt((store) => store.retain(this.#now() / 1000));
  }

  /** Writes something, to find out whether the disk takes it (again). */
  probe(): void {
    this.#attempt((store) => store.writeHistory([], this.#day, store.historyBytes(this.#day)));
  }

  /** Writes the history that waits, as far as the day's budget allows. */
  flushHistory(): void {
    const items = this.#history;
    if (items.length === 0) return;
    this.#history = [];
    this.#historyWaitingBytes = 0;
    const day = this.#day;
    this.#attempt((store) => {
      let bytes = store.historyBytes(day);
      const within = items.filter((item) => {
        const size = bytesOf(item);
        if (bytes + size > this.#historyDayBytes) return false;
        bytes += size;
        return true;
      });
      this.#historyDropped += items.length - within.length;
      store.writeHistory(within, day, bytes);
    });
    if (this.#failure !== null) this.#historyDropped += items.length;
  }

  /** Why nothing can be written at present; null if it can. */
  get failure(): string | null {
    return this.#failure;
  }

  get hasHistory(): boolean {
    return this.#history.length > 0;
  }

  report(): JournalReport {
    const figures = this.#attempt((store) => ({
      bytes: store.bytes,
      ...store.count(),
      historyBytes: store.historyBytes(this.#day),
    })) ?? { bytes: 0, total: 0, unfinished: 0, dead: 0, historyBytes: 0 };
    return {
      ...figures,
      historyBytesMax: this.#historyDayBytes,
      historyDropped: this.#historyDropped,
      failure: this.#failure,
      damaged: this.#damaged,
    };
  }

  [Symbol.dispose](): void {
    this.#store?.[Symbol.dispose]();
    this.#store = null;
  }

  get #day(): string {
    return new Date(this.#now()).toISOString().slice(0, 10);
  }

  #remember(item: HistoryItem): void {
    const bytes = bytesOf(item);
    if (this.#historyWaitingBytes + bytes > historyWaitingBytesMax) {
      this.#historyDropped++;
      return;
    }
    this.#historyWaitingBytes += bytes;
    this.#history.push(item);
  }

  /** Works with the file. Returns null if that failed, and `#failure` is the reason. */
  #attempt<Result>(work: (store: JournalStore) => Result): Result | null {
    try {
      const result = work(this.#sound());
      this.#failure = null;
      return result;
    } catch (failure) {
      if (isDamage(failure)) this.#replace(failure as Error);
      else if (isDiskFailure(failure)) this.#fail(failure);
      // At its start it must not go on; later, somebody has changed the folder.
      else if (failure instanceof StartError && this.#failure !== null) this.#failure = failure.message;
      else throw failure;
      return null;
    }
  }

  #fail(failure: Error): void {
    this.#failure = failure.message;
    this.#isSuspect = true;
  }

  /** The file, opened, and with nothing in it that may not be on the disk. */
  #sound(): JournalStore {
    if (this.#isSuspect) this[Symbol.dispose]();
    this.#store ??= new JournalStore(this.#options.path);
    if (this.#isSuspect) this.#store.checkpoint();
    this.#isSuspect = false;
    return this.#store;
  }

  #replace(failure: Error): void {
    this[Symbol.dispose]();
    this.#failure = `the file was damaged: ${failure.message}`;
    try {
      this.#damaged = setAside(this.#options.path);
      this.#options.onDamaged(this.#damaged, failure.message);
      this.#store = new JournalStore(this.#options.path);
    } catch (another) {
      if (!isDiskFailure(another)) throw another;
      this.#fail(another);
    }
  }
}

const bytesOf = ({ entry, body }: HistoryItem): number =>
  sizeOf(body) + (entry.entry === "ran" ? sizeOf(entry.request) + historyRunBytes : 0);
