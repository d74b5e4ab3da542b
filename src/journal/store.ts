/**
 * The jobs in the journal's file. Entries that are committed together are on the disk together or
 * not at all; an entry that was committed before changes nothing.
 */
import type { Database, Statement } from "bun:sqlite";
import { statSync } from "node:fs";
import {
  journalEntriesMax,
  journalMessageBytesMax,
  retentionBytesMax,
  retentionJobsMax,
  retentionMs,
  schedulesMax,
} from "../limits.ts";
import { type Frame, textOf } from "../protocol/frame.ts";
import type { JournalEntry, KeptJob, KeptSchedule } from "../protocol/journal.ts";
import { addRun, apply, type Run, type Value } from "./entries.ts";
import { openFile } from "./file.ts";

/** An entry and the frame that belongs to it. */
export interface JournalItem {
  readonly entry: JournalEntry;
  readonly body: Frame;
}

/** The log of an ended job, or a run of a schedule that was not durable. */
export interface HistoryItem {
  readonly entry: Extract<JournalEntry, { entry: "log" | "ran" }>;
  readonly body: Frame;
}

export interface KeptJobs {
  readonly kept: readonly KeptJob[];
  /** Two bodies for each job: its TASK frame, and the DATA frame of its reply. */
  readonly bodies: readonly Frame[];
  readonly next: number | null;
}

interface Row {
  readonly place: number;
  readonly job: string;
  readonly task: string;
  readonly state: string;
  readonly code: string | null;
  readonly dead: number;
  readonly accepted: number;
  readonly begun: number | null;
  readonly ended: number | null;
  readonly ms: number | null;
  readonly tries: number;
  readonly claims: number;
  readonly user: string | null;
  readonly requestor: string | null;
  readonly serial: string | null;
  readonly by: string | null;
  readonly person: string | null;
  readonly schedule: string | null;
  readonly request: Uint8Array;
  readonly reply: Uint8Array | null;
}

interface Count {
  readonly count: number;
}

const nothing = new Uint8Array(0);

export class JournalStore implements Disposable {
  readonly #path: string;
  readonly #database: Database;
  readonly #statements = new Map<string, Statement<unknown, Value[]>>();

  /** Throws as `openFile` does. */
  constructor(path: string) {
    this.#path = path;
    this.#database = openFile(path);
  }

  /** Puts all on the disk. Throws SQLiteError, and nothing is committed. */
  commit(items: readonly JournalItem[]): void {
    this.#together(() => {
      for (const { entry, body } of items) apply(entry, body, this.#run);
    });
  }

  /**
   * The unfinished jobs and the dead letters with this place or a later one, and the other ended
   * jobs after `endedAfter`, as many as fit into a message.
   */
  read(from: number, endedAfter: number): KeptJobs {
    const rows = this.#all<Row>(
      `SELECT place, job, task, state, code, dead, accepted, begun, ended, ms, tries, claims, user,
         requestor, serial, by, person, schedule, request, reply
       FROM jobs WHERE place >= ?1 AND (ended IS NULL OR dead = 1 OR place > ?2)
       ORDER BY place LIMIT ${journalEntriesMax + 1}`,
      from,
      endedAfter,
    );
    const kept: KeptJob[] = [];
    const bodies: Frame[] = [];
    let bytes = 0;
    for (const { request, reply, dead, person, ...job } of rows) {
      const size = request.length + (reply?.length ?? 0);
      if (kept.length === journalEntriesMax || (kept.length > 0 && bytes + size > journalMessageBytesMax)) {
        return { kept, bodies, next: job.place };
      }
      kept.push({ ...job, isDead: dead === 1, onBehalf: person === null ? null : JSON.parse(person) });
      bodies.push(request, reply ?? nothing);
      bytes += size;
    }
    return { kept, bodies, next: null };
  }

  /** The place after which there are so many ended jobs. */
  placeBefore(count: number): number {
    const [row] = this.#all<{ readonly place: number }>(
      "SELECT place FROM jobs WHERE ended IS NOT NULL ORDER BY place DESC LIMIT 1 OFFSET ?1",
      count,
    );
    return row?.place ?? 0;
  }

  /** The schedules of which something is known. */
  readSchedules(): KeptSchedule[] {
    return this.#all<KeptSchedule>(`SELECT schedule, rule, at FROM schedules ORDER BY at DESC LIMIT ${schedulesMax}`);
  }

  /** The log of a job; empty for none. */
  logOf(job: string): string {
    const [row] = this.#all<{ readonly log: string | null }>("SELECT log FROM jobs WHERE job = ?1", job);
    return row?.log ?? "";
  }

  /** Removes the oldest ended jobs that are beyond the retention. @param now seconds since 1970 */
  retain(now: number, bytesMax = retentionBytesMax): void {
    const remove = (where: string, ...values: Value[]): number =>
      this.#run(
        `DELETE FROM jobs WHERE place IN
           (SELECT place FROM jobs WHERE ended IS NOT NULL ${where} ORDER BY ended LIMIT ${retentionJobsMax})`,
        ...values,
      );
    while (remove("AND ended < ?1", now - retentionMs / 1000) === retentionJobsMax);
    while (this.bytes > bytesMax && remove("") > 0);
    this.#run(
      `DELETE FROM schedules WHERE schedule NOT IN
         (SELECT schedule FROM schedules ORDER BY at DESC LIMIT ${schedulesMax})`,
    );
  }

  /* ── History ── */

  /** bytes of history that were written on this day, `2026-11-28`. */
  historyBytes(day: string): number {
    const [row] = this.#all<{ readonly bytes: number }>("SELECT bytes FROM history_days WHERE day = ?1", day);
    return row?.bytes ?? 0;
  }

  /** Writes history, and how much there has been on this day with it. Throws SQLiteError. */
  writeHistory(items: readonly HistoryItem[], day: string, bytes: number): void {
    this.#together(() => {
      for (const { entry, body } of items) {
        if (entry.entry === "ran") addRun(entry, body, this.#run);
        else this.#run("UPDATE jobs SET log = ?2 WHERE job = ?1", entry.job, textOf(body));
      }
      this.#run("DELETE FROM history_days WHERE day <> ?1", day);
      this.#run("INSERT OR REPLACE INTO history_days (day, bytes) VALUES (?1, ?2)", day, bytes);
    });
  }

  /* ── Report ── */

  /** bytes of the pages that are in use. */
  get bytes(): number {
    const [pages] = this.#all<Count>(
      "SELECT page_count - freelist_count AS count FROM pragma_page_count, pragma_freelist_count",
    );
    const [size] = this.#all<Count>("SELECT page_size AS count FROM pragma_page_size");
    return (pages?.count ?? 0) * (size?.count ?? 0);
  }

  /** Jobs in the file; those of them that have not ended, and dead letters. */
  count(): { readonly total: number; readonly unfinished: number; readonly dead: number } {
    const [row] = this.#all<{ readonly total: number; readonly unfinished: number; readonly dead: number }>(
      "SELECT count(*) AS total, total(ended IS NULL) AS unfinished, total(dead) AS dead FROM jobs",
    );
    return row ?? { total: 0, unfinished: 0, dead: 0 };
  }

  /** Throws the error of the file system if the file is not there any more, under its name. */
  checkName(): void {
    statSync(this.#path);
  }

  /** Brings all into the file itself and begins the write-ahead log anew. Throws SQLiteError. */
  checkpoint(): void {
    this.#all("PRAGMA wal_checkpoint(TRUNCATE)");
  }

  [Symbol.dispose](): void {
    for (const statement of this.#statements.values()) statement.finalize();
    this.#database.close();
  }

  #together(work: () => void): void {
    this.#run("BEGIN IMMEDIATE");
    try {
      work();
      this.#run("COMMIT");
    } catch (failure) {
      if (this.#database.inTransaction) this.#run("ROLLBACK");
      throw failure;
    }
  }

  /** Returns the number of rows that it has changed. */
  readonly #run: Run = (sql, ...values) => this.#statement(sql).run(...values).changes;

  #all<Result>(sql: string, ...values: Value[]): Result[] {
    return this.#statement(sql).all(...values) as Result[];
  }

  #statement(sql: string): Statement<unknown, Value[]> {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#database.prepare<unknown, Value[]>(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }
}
