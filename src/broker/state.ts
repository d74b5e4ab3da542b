/**
 * The whole state of the broker. A job goes through these states, which PROTOCOL.md shows too:
 *
 *     accepted ─► delayed ─► queued ─► dispatched ─► running ─► done
 *         │                   ▲  ▲         │            │
 *         └───────────────────┘  └─────────┘            ├─► retrying ─► queued  (idempotent: after back-off)
 *                            returned unbegun           └─► failed | timed_out | cancelled | deadman
 *                                                             | stopped | preempted | superseded | interrupted
 *     before it runs also: ─► expired | superseded | cancelled | deadman | stopped | quarantined
 *     after running, other than done, of a task with onStop:
 *         safe stop: pending ─► running ─► safe | unsafe (locked until reset)
 *
 * Times are ms on the clock of the broker's `now`; a `since` is in seconds since 1970.
 */
import type { ReadyHeader } from "../protocol/backend.ts";
import type { Paused, Quarantined, Stopped } from "../protocol/blocked.ts";
import type { LogLine, RouterTopic } from "../protocol/engine-topics.ts";
import type { Requestor } from "../protocol/envelope.ts";
import type { ErrorBody, ErrorCode } from "../protocol/errors.ts";
import type { Frame } from "../protocol/frame.ts";
import type { Meta } from "../protocol/frames.ts";
import type { JournalEntry } from "../protocol/journal.ts";
import type { ArgumentSchema, Policy, TaskOptions } from "../protocol/policy.ts";
import type { SourceReport, StoreReport } from "../protocol/reports.ts";
import type { ScheduleDefinition } from "../protocol/schedules.ts";
import type { Share } from "../security/shares.ts";
import type { Fifo, Multimap } from "./collections.ts";
import type { DueTimes } from "./due-times.ts";
import type { Effect } from "./events.ts";
import type { JobOutcome } from "./outcome.ts";

/** The reason for which the broker ends a job: the error that its requestor gets. */
export type EndReason = ErrorBody;

/** A job before its acceptance. */
export interface Draft {
  readonly kind: "task" | "put" | "get" | "safe"; // `safe`: a safe stop, one run of an `onStop`
  readonly name: string; // of the task; the topic of `put` and `get`
  readonly queue: string; // a worker must serve it to get the job
  readonly body: Frame; // the TASK or DATA frame as it came; empty for `get` and `safe`
  readonly bytes: number;
  readonly options: TaskOptions;
  readonly policy: Policy; // of the task; of two limits the tighter one holds
  readonly schedule?: string | undefined; // name of the schedule whose run it is
  readonly publisher?: string | undefined; // of a `put` without a requestor, for people
  readonly why?: (EndReason & { readonly since: number }) | undefined; // the cause of a safe stop
}

type JobState =
  | "delayed" // must not be dispatched before its time
  | "queued" // waits for a worker; of a safe stop: pending
  | "retrying" // waits for the end of its back-off; of a safe stop: pending
  | "dispatched" // waits in its worker behind the job that runs there
  | "running" // the first job that its worker holds: its limits count
  | "safing" // its task has let go (SAFING), and its `onStop` runs in the same worker
  | "ended" // answered, as done or with the code of an error; of a safe stop: safe
  | "unsafe"; // of a safe stop that failed too often: keeps its resources until a reset

export interface Job extends Draft {
  queue: string; // of `put` and `get` another one while they wait, when their topic moves
  readonly id: number; // grows with each accepted job
  readonly priority: number;
  policy: Policy; // a reload revises it while the job waits
  expiresAt: number; // it must not begin later; Infinity for no limit, and while it is delayed
  acceptedAt: number;
  startedAt: number; // of its last try; 0 before the first
  readonly origin: RequestSender | null; // who asked for it; null for a safe stop or a publication
  request: OpenRequest | null; // null if nobody waits for the answer (any more)
  readonly part: number; // its index in a batch
  place: { readonly id: number; readonly at: number }; // its own, or of the job that it superseded
  state: JobState;
  worker: Worker | null; // that holds it
  tries: number; // that were cut off or failed
  kills: number; // of workers by it
  isReplaced: boolean; // superseded while a worker had it: it must not begin (again)
  stop: EndReason | null; // it was told to end, which overrides the answer of its worker
  progress: Frame | null; // its last report, if it is short
  log: { bytes: number; readonly first: number } | null; // its log so far, from the line of this number on
  durable: DurableMark | null; // null for one that does not outlive the engine
}

/** The journal's knowledge of a job. */
export interface DurableMark {
  readonly id: string;
  claims: number; // how often a worker was allowed to begin it
  isCleared: boolean; // the disk has noted that it may have begun
  isAccepted: boolean; // it is on the disk
  end: readonly [JournalEntry, Frame] | null; // on its way to the disk
  readonly waiters: RequestSender[]; // of its `unique` key, before that
}

/** A durable job that has failed for good. */
export interface DeadLetter {
  readonly job: Job;
  readonly ended: EndedJob;
  successor: string | null; // id of the job that takes its place
}

/** The sender of a request, and the version and serial of each reply to it. */
export interface RequestSender {
  readonly requestor: Requestor;
  readonly user: string | null; // name of its key; null in an engine without keys
  readonly meta: Pick<Meta, "version" | "serial"> & Partial<Pick<Meta, "id" | "onBehalf">>;
}

/** A request that waits for its one terminal reply: one job, or the parts of a batch. */
export interface OpenRequest extends RequestSender {
  readonly isDetached: boolean; // ACCEPTED was its reply: it only holds the share of its client
  readonly entry: RequestorEntry | null; // null without a serial
  readonly share: Share; // of its client, in which its parts and bytes count
  readonly parts: number;
  readonly bytes: number;
  readonly jobs: (Job | undefined)[]; // by part; undefined once ended
  readonly results: (Frame | undefined)[]; // of a batch, by part
  resultBytes: number;
  left: number; // parts without a result
  progressAt: number; // of the last PROGRESS of a batch
  aliveAt: number; // of the last sign of life of its requestor
  deadmanMs: number; // of silence end the job; Infinity for no limit
}

export interface RequestorEntry {
  readonly key: string; // of one requestor
  readonly requests: Map<string, OpenRequest>; // its open ones, by serial
}

/** A job of the history. The objects are used again once there are enough of them. */
export interface EndedJob {
  id: number;
  name: string;
  serial: string; // empty for none
  user: string | null; // name of the requestor's key
  requestor: string | null; // the user, or META's id of the request; null in version 0.1
  acceptedAt: number;
  startedAt: number; // 0 if it has not begun
  endedAt: number;
  ms: number; // run time as its worker has said it, or 0
  worker: string | null; // META's id of the one that has answered
  tries: number;
  outcome: JobOutcome | null; // null for a result that only its requestor has got, or that had to go
  code: ErrorCode | null; // null for done
  body: Frame | null; // the TASK frame, of a detached job
  isJournaled: boolean; // the journal may have its log
  bytes: number; // of what is kept
}

/** A line of the log of a job. */
export interface JobLogLine {
  readonly number: number; // of the line, for the next page
  readonly at: number; // seconds since 1970
  readonly job: number;
  readonly task: string;
  readonly level: LogLine["level"];
  readonly text: string;
}

/** A line in the journal has no number. */
export type KeptLine = Pick<JobLogLine, "at" | "level" | "text">;

/** An entry that the journal has not confirmed. */
interface UnconfirmedEntry {
  readonly entry: JournalEntry;
  readonly body: Frame;
  readonly onSettled: (failure: string | null, now: number) => Effect[];
}

/** The last job of a task and a `unique` key. */
export interface UniqueJob {
  readonly id: number;
  readonly args: number | bigint; // a hash of its arguments
  readonly until: number; // end of its window; it counts until its own end, too
  job: Job | null; // null once ended
}

/** One dispatch of a job. */
export interface HeldJob {
  readonly job: Job;
  readonly expectedMs: number;
}

export interface Worker {
  readonly key: string; // its routing id at the backend
  readonly user: string | null; // name of its key; null in an engine without keys
  readonly ready: ReadyHeader;
  readonly queues: readonly string[];
  readonly policies: ReadonlyMap<string, Policy>; // by task
  readonly held: Map<number, HeldJob>; // by job id; runs them in this order
  head: HeldJob | undefined; // the first of `held`, which runs
  expectedMs: number; // the sum over `held`
  readonly givenUp: Map<number, Job>; // answered without it: no new jobs until it lets go of these
  heardAt: number;
  sources: ReadonlyMap<string, SourceReport>; // the last word on each source, by name
  store: StoreReport | null; // of a data worker: its last word on what it keeps
  isConnected: boolean;
  wantsOwners: boolean; // it publishes, and is told of the data workers at each change
  retired: "leaving" | "killed" | "lost" | null; // no new jobs: `killed` is dead or soon to be
  dismissal: string | null; // the reason of REFUSED, which then stands in place of GOODBYE
  lastBegunJobId: number | null; // 0: none; null while its process lives
}

/** A job that a worker may go on with although it is answered: its resources stay held. */
export interface Runaway {
  readonly state:
    | "stuck" // its worker is connected and does not let go
    | "disconnected" // its worker is not connected, and lets go within a bounded time
    | "abandoned"; // its worker is cut off for want of a right: only a person can tell
  readonly worker: string;
  readonly why: EndReason;
  readonly since: number;
}

/** The last worker of a task that no worker serves any more. */
export interface GoneWorker {
  readonly worker: string;
  readonly why: string;
  readonly at: number;
}

/** A task that can be asked for. */
export type TaskEntry = Pick<Draft, "name" | "queue" | "policy">;

export interface QueueLevel {
  readonly priority: number;
  readonly jobs: Fifo<Job>;
}

/** The ports of a data worker. */
export interface DataPorts {
  /** For subscribers of 0.2. */
  readonly publications: string;
  /** For publishers and subscribers of 0.3; absent for a data worker of 0.2. */
  readonly stream?: string;
}

/** A task that runs by itself. */
export interface Schedule {
  readonly definition: ScheduleDefinition;
  due: DueTimes | null; // of cron before the clock is known
  isRunning: boolean; // its last run has not ended
  last: number | null; // the begin of that, in seconds since 1970
  code: string | null; // its end: `done` or the code of an error
  skipped: number; // runs that were due and left out
  written: number | null; // the time up to which its due times are done in the journal, in s since 1970
  why: string | null; // the reason of the last of these
}

/** All tables. Each is a field of the one class that is named above it. */
export interface BrokerState {
  // JobQueues, LatestJobs
  readonly waiting: Map<number, Job>; // delayed, queued and retrying, by id
  readonly queues: Map<string, QueueLevel[]>; // the highest priority first
  readonly publications: Map<string, Job>; // the newest waiting one of each topic
  readonly latest: Multimap<string, Job>; // jobs that have not ended, by task and `latest` key
  readonly delayed: Set<Job>; // Delays: those with `notBefore`
  // JobHistory, JobResults, UniqueJobs
  readonly attached: EndedJob[]; // two rings, the oldest is overwritten
  readonly detached: EndedJob[];
  readonly logs: JobLogLine[]; // JobLogs
  readonly awaited: Map<OpenRequest, Job>; // requests that wait for the result of a job of another
  readonly unique: Map<string, UniqueJob>; // by task and key
  // JournalWriter, DurableJobs, DeadLetters
  readonly unconfirmed: Map<number, UnconfirmedEntry>; // by number
  readonly askedLogs: Map<number, (lines: readonly KeptLine[]) => Effect[]>; // JournalLogs: by number
  readonly ending: Map<number, Job>; // ended, and their end is not on the disk yet
  readonly dead: Map<number, DeadLetter>; // the oldest first
  // Workers
  readonly workers: Map<string, Worker>;
  readonly serving: Map<string, Worker[]>; // by queue
  readonly expectedMs: Map<string, number>; // of one run, by queue
  readonly gone: Map<string, GoneWorker>; // by task
  readonly sources: Map<string, ReadyHeader>; // by language, of source workers that are there or have died
  // TaskDirectory
  readonly tasks: Map<string, TaskEntry>; // of the engine, by the supervisor's word
  readonly schemas: Map<string, ArgumentSchema>; // of those of them that have one
  readonly dataWorkers: Map<string, DataPorts>; // all since the start, by the endpoint of publications
  // Requests
  readonly requestors: Map<string, RequestorEntry>;
  readonly guarded: Multimap<string, OpenRequest>; // by connection, those with a dead man
  // Resources, SafeStops, Runaways
  readonly holders: Multimap<string, Job>; // by resource
  readonly safeStops: Multimap<string, Job>; // by task, those that are not safe yet
  readonly runaways: Map<Job, Runaway>;
  // Blocks
  closed: EndReason | null; // set once the engine ends: nothing is accepted any more
  stopped: Stopped | null; // the emergency stop that holds
  readonly quarantined: Map<string, Quarantined>; // by task
  readonly paused: Map<string, Paused>; // by task
  // EngineEvents
  readonly watched: Map<Worker, ReadonlySet<RouterTopic>>; // by data worker
  readonly publishers: Map<RouterTopic, string>; // key of the data worker of a watched topic
  // Schedules
  readonly schedules: Map<string, Schedule>; // by name
  readonly pausedSchedules: Map<string, Paused>; // by name
  // PauseHandler: requests that wait for the disk, by the number that the supervisor was told
  readonly pausing: Map<number, (failure: string | null) => Effect>;
  readonly reloads: Map<number, RequestSender>; // ReloadRequests, by the same
  // EmergencyHandler
  readonly estops: Map<RequestSender, { readonly stopped: Stopped; readonly request: number }>;
  readonly resets: Map<RequestSender, number>; // the number that the supervisor was told
}
