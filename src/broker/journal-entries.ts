/** The entries of the journal for a job, as the broker knows it. */
import { journalReplyBytesMax } from "../limits.ts";
import { endStateOf } from "../protocol/control.ts";
import type { ErrorCode } from "../protocol/errors.ts";
import { type Frame, sizeOf, textOf } from "../protocol/frame.ts";
import type { JournalEntry } from "../protocol/journal.ts";
import type { JobOutcome } from "./outcome.ts";
import type { Job } from "./state.ts";

type EntryOf<Kind extends JournalEntry["entry"]> = Extract<JournalEntry, { entry: Kind }>;

/** @param at seconds since 1970 */
export const acceptedEntry = ({ name, origin, schedule }: Job, job: string, at: number): EntryOf<"accepted"> => {
  const { id: requestor = null, serial = null, onBehalf } = origin?.meta ?? {};
  const person = onBehalf === undefined ? null : { name: onBehalf.name, rights: [...onBehalf.rights] };
  return {
    ...{ entry: "accepted", job, task: name, at, user: origin?.user ?? null, requestor, serial },
    ...{ onBehalf: person, schedule: schedule ?? null },
  };
};

/** An end that needs nobody's hand. */
const quietCodes: ReadonlySet<ErrorCode | null> = new Set([null, "CANCELLED", "SUPERSEDED"]);

/** @param at seconds since 1970, `ms` the run time, 0 for none */
export const endedEntry = (job: string, { by, code }: JobOutcome, ms: number, at: number): EntryOf<"ended"> => ({
  ...{ entry: "ended", job, at, state: endStateOf(code), code, by, ms: ms > 0 ? ms : null },
  isDead: !quietCodes.has(code),
});

/** A run of a schedule that was not durable. Times are in seconds since 1970. */
export const ranEntry = (
  { name, schedule, tries, body }: Job,
  job: string,
  { by, code }: JobOutcome,
  ms: number,
  times: Pick<EntryOf<"ran">, "accepted" | "begun" | "at">,
): EntryOf<"ran"> => ({
  ...{ entry: "ran", job, task: name, schedule: schedule ?? name, ...times, tries },
  ...{ state: endStateOf(code), code, by, ms: ms > 0 ? ms : null, request: textOf(body) },
});

/** The DATA frame of a reply as the journal takes it: empty for one that it does not keep. */
export const keptReply = ({ body, contentType }: JobOutcome): Frame =>
  sizeOf(body) > journalReplyBytesMax || contentType !== undefined ? "" : body;
