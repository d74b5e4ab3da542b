/**
 * Calls a source at its rate. The calls are due at multiples of the rate since one start, so that
 * no delay adds up; what is late by a whole period or more, or due while a call has not ended, is
 * left out and counted. Between two calls the process sleeps.
 */
import { sourceDelaysMax, sourceErrorsMax } from "../limits.ts";
import type { SourceReport } from "../protocol/reports.ts";
import type { RegisteredSource } from "../tasks/task.ts";
import { thrownLines, thrownMessage } from "../tasks/thrown.ts";
import { isThenable } from "./user-code.ts";

/** The way of the results of sources to their subscribers. */
export interface SourcePublisher {
  /** Throws for a value that is not JSON or too long. */
  publish(topic: string, value: unknown, source: string): void;
}

/** A clock and its timers: in the worker those of the system, in tests others. */
export interface SourceClock {
  /** ms, monotonic */
  now(): number;
  /** Calls `handler` once, after `ms`; 0 for as soon as other events have had their turn. */
  after(ms: number, handler: () => void): void;
}

interface SourceHooks {
  readonly publisher: SourcePublisher;
  readonly clock: SourceClock;
  /** Writes one line to the log. */
  readonly log: (line: string) => void;
}

/** ms before its time from which on a call may begin: half of a timer's step. */
const earlyMsMax = 0.5;

export class SourceLoop {
  readonly #source: RegisteredSource;
  readonly #hooks: SourceHooks;
  readonly #startMs: number;
  /** The call that runs or comes next: it is due `#turn` periods after the start. */
  #turn = 0;
  #isRunning = false;
  readonly #figures = new SourceFigures();
  readonly #loggedErrors = new Set<string>();

  /** @param startMs of the first call: sources with one start share wake-ups */
  constructor(source: RegisteredSource, startMs: number, hooks: SourceHooks) {
    this.#source = source;
    this.#startMs = startMs;
    this.#hooks = hooks;
    this.#plan();
  }

  /** For `status`. Rate and jitter are those since the last report. */
  report(): SourceReport {
    const now = this.#hooks.clock.now();
    const { name, everyMs } = this.#source;
    const missed = this.#isRunning ? Math.max(0, this.#turnAt(now) - this.#turn) : 0;
    return { name, ...this.#figures.report(now, everyMs, missed) };
  }

  #plan(): void {
    const { clock } = this.#hooks;
    const waitMs = this.#startMs + this.#turn * this.#source.everyMs - clock.now();
    // Timers have steps of 1 ms. The nearest one is half a step early or late at most.
    clock.after(Math.max(0, Math.round(waitMs)), () => this.#begin());
  }

  #begin(): void {
    const now = this.#hooks.clock.now();
    this.#skipTo(this.#turnAt(now + earlyMsMax));
    this.#figures.began(now, now - (this.#startMs + this.#turn * this.#source.everyMs));
    this.#isRunning = true;
    try {
      const result = this.#source.run();
      if (isThenable(result)) return void this.#endLater(result);
      this.#publish(result);
    } catch (thrown) {
      this.#failed(thrown);
    }
    this.#ended();
  }

  async #endLater(result: PromiseLike<unknown>): Promise<void> {
    try {
      this.#publish(await result);
    } catch (thrown) {
      this.#failed(thrown);
    }
    this.#ended();
  }

  #ended(): void {
    this.#isRunning = false;
    this.#turn++;
    // A call that is due just now was due while the last one ran.
    this.#skipTo(this.#turnAt(this.#hooks.clock.now()) + 1);
    this.#plan();
  }

  #publish(value: unknown): void {
    const { topic, name } = this.#source;
    if (value !== undefined) this.#hooks.publisher.publish(topic, value, name);
  }

  #failed(thrown: unknown): void {
    this.#figures.errors++;
    if (this.#loggedErrors.size >= sourceErrorsMax) return;
    const kind = thrownMessage(thrown);
    if (this.#loggedErrors.has(kind)) return;
    this.#loggedErrors.add(kind);
    const [first, ...rest] = thrownLines(thrown);
    const isLast = this.#loggedErrors.size === sourceErrorsMax;
    const others = isLast ? "all further errors of it are only counted" : "the same again is only counted";
    this.#hooks.log(`The source ${this.#source.name} has failed (${others}): ${first}`);
    for (const line of rest) this.#hooks.log(line);
  }

  /** The last call that was due at that time. */
  #turnAt(ms: number): number {
    return Math.floor((ms - this.#startMs) / this.#source.everyMs);
  }

  #skipTo(turn: number): void {
    if (turn <= this.#turn) return;
    this.#figures.overruns += turn - this.#turn;
    this.#turn = turn;
  }
}

/** Counts, and what is measured between two reports. */
class SourceFigures {
  overruns = 0;
  errors = 0;
  /** Begins of calls since the one at `#sinceMs`, which was the last of the report before. */
  #calls = -1;
  #sinceMs = 0;
  #lastMs = 0;
  #hz: number | null = null;
  #jitterMs: number | null = null;
  /** ms by which each call was late or early. */
  readonly #delaysMs: number[] = [];

  began(now: number, delayMs: number): void {
    this.#calls++;
    if (this.#calls === 0) this.#sinceMs = now;
    this.#lastMs = now;
    if (this.#delaysMs.length < sourceDelaysMax) this.#delaysMs.push(Math.abs(delayMs));
  }

  /** @param missed calls that are due while one runs */
  report(now: number, everyMs: number, missed: number): Omit<SourceReport, "name"> {
    if (this.#calls > 0) {
      this.#hz = rounded((1000 * this.#calls) / (this.#lastMs - this.#sinceMs));
      this.#sinceMs = this.#lastMs;
      this.#calls = 0;
    } else if (this.#hz !== null && now - this.#lastMs > 2 * everyMs) this.#hz = 0;
    if (this.#delaysMs.length > 0) {
      const sorted = this.#delaysMs.splice(0).sort((a, b) => a - b);
      this.#jitterMs = rounded(sorted[Math.ceil(0.99 * sorted.length) - 1] ?? 0);
    }
    return { hz: this.#hz, jitterMs: this.#jitterMs, overruns: this.overruns + missed, errors: this.errors };
  }
}

const rounded = (value: number): number => Math.round(value * 1000) / 1000;
