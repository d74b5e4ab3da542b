/**
 * The journal has lost its file, and has begun a new one: the durable jobs that the router knows
 * and that have not ended are written to it, and the dead letters, which wait for a person.
 */
import { journalRetryMs } from "../limits.ts";
import type { Frame } from "../protocol/frame.ts";
import type { JournalEntry } from "../protocol/journal.ts";
import { jobsOf } from "./job.ts";
import { acceptedEntry, endedEntry, keptReply } from "./journal-entries.ts";
import type { DeadLetter, DurableMark, Job } from "./state.ts";
import type { Tables } from "./tables.ts";

/** Appends them, in the order of their acceptance. What the file has already is left as it is. */
export const rewriteKnown = (tables: Tables, now: number): void => {
  const { dead, ending, queues, workers } = tables;
  for (const letter of dead.letters) {
    for (const [entry, body] of entriesOfLetter(tables, letter, now)) put(tables, entry, body);
  }
  const known = [...queues, ...[...workers].flatMap(jobsOf), ...ending.values()];
  for (const job of known.sort((a, b) => a.place.id - b.place.id)) {
    const mark = job.durable;
    if (mark?.isAccepted === true)
      for (const [entry, body] of entriesOf(tables, job, mark, now)) put(tables, entry, body);
  }
};

type Entries = (readonly [JournalEntry, Frame])[];

const entriesOfLetter = (tables: Tables, { job, ended, successor }: DeadLetter, now: number): Entries => {
  const { outcome } = ended;
  // The job that takes its place is written, and the letter is about to go.
  if (outcome === null || successor !== null) return [];
  const id = tables.ids.idOf(job.id);
  return [
    [acceptedEntry(job, id, tables.wallAt(job.acceptedAt, now)), job.body],
    [endedEntry(id, outcome, ended.ms, tables.wallAt(ended.endedAt, now)), keptReply(outcome)],
  ];
};

const entriesOf = (tables: Tables, job: Job, mark: DurableMark, now: number): Entries => {
  const { id, claims, end } = mark;
  const wall = tables.wallSeconds();
  const accepted = acceptedEntry(job, id, tables.wallAt(job.acceptedAt, now));
  if (end !== null) return [[accepted, job.body], end];
  if (claims === 0) return [[accepted, job.body]];
  const begun = { entry: "begun", job: id, at: wall, tries: job.tries + 1, claim: claims } as const;
  const mayHaveBegun = job.worker !== null || mark.isCleared || job.state === "retrying";
  if (mayHaveBegun)
    return [
      [accepted, job.body],
      [begun, ""],
    ];
  return [
    [accepted, job.body],
    [begun, ""],
    [{ entry: "returned", job: id, tries: job.tries, claim: claims }, ""],
  ];
};

/** Until the disk has taken it. */
const put = (tables: Tables, entry: JournalEntry, body: Frame): void => {
  const again = (at: number): void =>
    tables.timers.add({
      at,
      isAlive: () => true,
      fire: () => {
        put(tables, entry, body);
        return [];
      },
    });
  tables.journal.append(entry, body, (failure, at) => {
    if (failure !== null) again(at + journalRetryMs);
    return [];
  });
};
