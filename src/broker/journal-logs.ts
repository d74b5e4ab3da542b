/**
 * The logs of ended jobs in the journal: a line of text for each line, `TIME LEVEL TEXT`, so that a
 * person can read the file, too. Who asks for one waits until the journal has answered.
 */
import { journalLogsMax, journalLogsMs } from "../limits.ts";
import { type Frame, sizeOf, textOf } from "../protocol/frame.ts";
import { type Effect, toWorker } from "./events.ts";
import type { JournalWriter } from "./journal-writer.ts";
import type { BrokerState, JobLogLine, KeptLine } from "./state.ts";
import type { Timers } from "./timers.ts";

export class JournalLogs {
  readonly #asked: BrokerState["askedLogs"] = new Map();
  #lastRequest = 0;

  constructor(
    private readonly journal: JournalWriter,
    private readonly timers: Timers,
  ) {}

  /**
   * Asks for the log of a job. Returns null where there is no journal, or too many wait for it.
   * @param answer gets no lines if nothing is kept, or the journal does not answer
   */
  ask(job: string, answer: (lines: readonly KeptLine[]) => Effect[], now: number): Effect[] | null {
    const { key } = this.journal;
    if (key === null || this.#asked.size >= journalLogsMax) return null;
    const request = ++this.#lastRequest;
    this.#asked.set(request, answer);
    this.timers.add({
      at: now + journalLogsMs,
      isAlive: () => this.#asked.has(request),
      fire: () => this.answered(request, ""),
    });
    return [toWorker(key, { type: "LOGS", request, job })];
  }

  /** LOGGED. */
  answered(request: number, body: Frame): Effect[] {
    const answer = this.#asked.get(request);
    this.#asked.delete(request);
    return answer === undefined ? [] : answer(sizeOf(body) === 0 ? [] : linesIn(textOf(body)));
  }

  /** Keeps the log of an ended job. */
  keep(job: string, lines: readonly JobLogLine[]): void {
    if (lines.length === 0 || this.journal.key === null) return;
    this.journal.append({ entry: "log", job }, lines.map(encode).join("\n"), () => []);
  }
}

/** The lines of a text in it are one line of the file each, the further ones indented. */
const encode = ({ at, level, text }: KeptLine): string =>
  `${new Date(at * 1000).toISOString()} ${level} ${text.replaceAll("\n", "\n ")}`;

const linesIn = (log: string): KeptLine[] =>
  log.split(/\n(?! )/).map((line) => {
    const [, time = "", level = "info", text = line] = /^(\S+) (info|warn|error) (.*)$/s.exec(line) ?? [];
    const at = Date.parse(time) / 1000;
    return { at: Number.isFinite(at) ? at : 0, level: level as KeptLine["level"], text: text.replaceAll("\n ", "\n") };
  });
