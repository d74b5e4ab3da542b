/** Entries of the journal for a test. */
import type { JournalEntry } from "../../src/protocol/journal.ts";

export const requestOf = (job: string): string => `{"task":"upload","args":["${job}"],"kwargs":{},"pack":1}`;

export const accepted = (job: string, at = 1000): JournalEntry => ({
  ...{ entry: "accepted", job, task: "upload", at, user: "laptop", requestor: "CLIENT-1", serial: `s-${job}` },
  ...{ onBehalf: null, schedule: null },
});

export const begun = (job: string, claim = 1, tries = claim, at = 1001): JournalEntry => ({
  ...{ entry: "begun", job, at, tries, claim },
});

export const returned = (job: string, claim = 1, tries = claim - 1): JournalEntry => ({
  ...{ entry: "returned", job, tries, claim },
});

export const ended = (job: string, code: string | null = null, at = 1002): JournalEntry => ({
  ...{ entry: "ended", job, at, state: code === null ? "done" : "failed", code, by: "TASK-1", ms: 1.5 },
  isDead: code !== null,
});
