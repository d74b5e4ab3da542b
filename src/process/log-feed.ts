/**
 * The lines of this process's log as messages, while somebody follows `$engine/log`. Lines wait a
 * little, so that several travel together; too many of them are lost and counted, and nobody waits.
 */
import { errorMessageLengthMax, logFeedLinesMax, logFeedMs } from "../limits.ts";
import type { LogLine } from "../protocol/engine-topics.ts";
import { shorten } from "../protocol/errors.ts";
import { onLogLine } from "./log.ts";

export class LogFeed {
  #lines: LogLine[] = [];
  #lost = 0;
  #timer: Timer | undefined;

  /**
   * @param send passes the lines on, and the number of lines that were lost before them. Returns
   * false if it cannot do so now
   */
  constructor(private readonly send: (lines: readonly LogLine[], lost: number) => boolean) {}

  /** From now on the lines are sent, or they are not any more. */
  watch(isWatched: boolean): void {
    onLogLine(isWatched ? (line) => this.#add(line) : null);
    if (isWatched) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#lines = [];
    this.#lost = 0;
  }

  #add(line: LogLine): void {
    if (this.#lines.length >= logFeedLinesMax) this.#lost++;
    else this.#lines.push({ ...line, text: shorten(line.text) });
    // It keeps no process alive that has nothing else to do.
    this.#timer ??= setTimeout(() => this.#flush(), logFeedMs).unref();
  }

  #flush(): void {
    this.#timer = undefined;
    if (this.send(this.#lines, this.#lost)) {
      this.#lines = [];
      this.#lost = 0;
    } else this.#timer = setTimeout(() => this.#flush(), logFeedMs).unref();
  }
}

const levels: readonly unknown[] = ["info", "warn", "error"] satisfies LogLine["level"][];

/** The valid lines of a message: a task shares the channel of its worker, and may write to it. */
export const checkedLines = (lines: unknown): LogLine[] =>
  !Array.isArray(lines)
    ? []
    : lines.slice(0, logFeedLinesMax).filter((line: Partial<LogLine> | null) => {
        if (typeof line !== "object" || line === null) return false;
        const { at, level, text, job } = line;
        const isText = typeof text === "string" && text.length <= errorMessageLengthMax;
        return (
          isText && typeof at === "number" && levels.includes(level) && (job === null || Number.isSafeInteger(job))
        );
      });
