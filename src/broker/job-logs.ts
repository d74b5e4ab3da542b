/**
 * The lines that jobs have written to their logs, and their errors: the newest ones of all jobs.
 */
import { jobLogBytesMax, jobLogsBytesMax } from "../limits.ts";
import { ProtocolError, shorten } from "../protocol/errors.ts";
import { type Frame, sizeOf } from "../protocol/frame.ts";
import { isJsonObject } from "../protocol/json.ts";
import { decodeObject } from "../protocol/schema.ts";
import type { BrokerState, Job, JobLogLine } from "./state.ts";

export class JobLogs {
  #lines: BrokerState["logs"] = [];
  /** Index of the oldest line; those before it are gone. */
  #head = 0;
  #bytes = 0;
  #count = 0;

  constructor(private readonly wallSeconds: () => number) {}

  /**
   * Takes a line of a worker. Returns false if it is none.
   * @param body a DATA frame of `{level, text}`
   */
  add(job: Job, body: Frame): boolean {
    const frame = decodeObject(body, "DATA");
    const data = frame instanceof ProtocolError ? null : frame.data;
    if (!isJsonObject(data)) return false;
    const { level, text } = data;
    if (typeof text !== "string" || (level !== "info" && level !== "warn" && level !== "error")) return false;
    job.log ??= { bytes: 0, first: this.#count + 1 };
    // A worker of the engine keeps the limit, and says so in a last line.
    if (job.log.bytes > 2 * jobLogBytesMax) return true;
    const line: JobLogLine = {
      number: ++this.#count,
      at: this.wallSeconds(),
      job: job.id,
      task: job.name,
      level,
      text: shorten(text),
    };
    job.log.bytes += sizeOf(line.text);
    this.#lines.push(line);
    this.#bytes += bytesOf(line);
    while (this.#bytes > jobLogsBytesMax) this.#dropOldest();
    return true;
  }

  /** The lines of a job that are still there; looks at no line that is older than its first one. */
  of({ id, log }: Job): JobLogLine[] {
    if (log === null) return [];
    // The lines are numbered without a gap.
    const from = Math.max(this.#head, this.#lines.length - 1 - (this.#count - log.first));
    return this.#lines.slice(from).filter((line) => line.job === id);
  }

  /** The newest lines that are meant, the oldest first. */
  newest(isMeant: (line: JobLogLine) => boolean, limit: number): JobLogLine[] {
    const found: JobLogLine[] = [];
    for (let index = this.#lines.length - 1; index >= this.#head && found.length < limit; index--) {
      const line = this.#lines[index];
      if (line !== undefined && isMeant(line)) found.push(line);
    }
    return found.reverse();
  }

  #dropOldest(): void {
    const oldest = this.#lines[this.#head++];
    if (oldest !== undefined) this.#bytes -= bytesOf(oldest);
    if (this.#head < this.#lines.length / 2) return;
    this.#lines = this.#lines.slice(this.#head);
    this.#head = 0;
  }
}

/** Those of an object and its fields, and of its text, which has up to two for each character. */
const bytesOf = ({ text }: JobLogLine): number => 128 + 2 * text.length;
