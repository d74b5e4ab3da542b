/** Writes entries into the table of jobs. An entry that comes again changes nothing. */
import { journalReplyBytesMax } from "../limits.ts";
import { type Frame, sizeOf } from "../protocol/frame.ts";
import type { JournalEntry } from "../protocol/journal.ts";

export type Value = string | number | null | Uint8Array;

/** Runs a statement. Returns the number of rows that it has changed. */
export type Run = (sql: string, ...values: Value[]) => number;

export const apply = (entry: JournalEntry, body: Frame, run: Run): void => {
  switch (entry.entry) {
    case "accepted": {
      const { job, task, at, user, requestor, serial, onBehalf, schedule } = entry;
      const person = onBehalf === null ? null : JSON.stringify(onBehalf);
      run(
        `INSERT OR IGNORE INTO jobs
           (job, task, state, accepted, user, requestor, serial, person, schedule, request)
         VALUES (?1, ?2, 'queued', ?3, ?4, ?5, ?6, ?7, ?8, ?9)`,
        ...[job, task, at, user, requestor, serial, person, schedule, bytesOf(body)],
      );
      return;
    }
    case "begun":
      run(
        `UPDATE jobs SET state = 'running', begun = ?2, tries = ?3, claims = ?4
         WHERE job = ?1 AND ended IS NULL AND claims < ?4`,
        ...[entry.job, entry.at, entry.tries, entry.claim],
      );
      return;
    case "returned":
      run(
        `UPDATE jobs SET state = 'queued', begun = NULL, tries = ?2
         WHERE job = ?1 AND ended IS NULL AND claims = ?3`,
        ...[entry.job, entry.tries, entry.claim],
      );
      return;
    case "ended": {
      const { job, at, state, code, by, ms, isDead } = entry;
      const reply = replyIn(body);
      run(
        `UPDATE jobs SET ended = ?2, state = ?3, code = ?4, by = ?5, ms = ?6, dead = ?7, reply = ?8
         WHERE job = ?1 AND ended IS NULL`,
        ...[job, at, state, code, by, ms, isDead ? 1 : 0, reply],
      );
      return;
    }
    case "discarded":
      run("UPDATE jobs SET dead = 0 WHERE job = ?1", entry.job);
      return;
    case "due": {
      const { schedule, rule, at } = entry;
      run("INSERT OR REPLACE INTO schedules (schedule, rule, at) VALUES (?1, ?2, ?3)", schedule, rule, at);
      return;
    }
    // History waits for `writeHistory`.
    case "log":
    case "ran":
      return;
  }
};

/** A run of a schedule that was not durable. */
export const addRun = (entry: Extract<JournalEntry, { entry: "ran" }>, body: Frame, run: Run): void => {
  const { job, task, schedule, accepted, begun, at, tries, state, code, by, ms, request } = entry;
  run(
    `INSERT OR IGNORE INTO jobs
       (job, task, state, code, accepted, begun, ended, ms, tries, by, schedule, request, reply)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)`,
    ...[job, task, state, code, accepted, begun, at, ms, tries, by, schedule, bytesOf(request), replyIn(body)],
  );
};

const replyIn = (body: Frame): Uint8Array | null => {
  const size = sizeOf(body);
  return size === 0 || size > journalReplyBytesMax ? null : bytesOf(body);
};

const bytesOf = (frame: Frame): Uint8Array => (typeof frame === "string" ? Buffer.from(frame) : frame);
