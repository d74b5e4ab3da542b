/**
 * The journal process: it alone writes the journal's file, so that no process that carries messages
 * ever waits for the disk. It runs where the task files have a durable task.
 */
import { join } from "node:path";
import { beatIntervalMs, historyFlushMs, journalRetryMs, retentionLookMs } from "../limits.ts";
import { BackendLink, type JournalHeader } from "../process/backend-link.ts";
import { error, warn } from "../process/log.ts";
import { onLeaveRequest, tellSupervisor } from "../process/supervised.ts";
import type { Frame } from "../protocol/frame.ts";
import { terminateContext } from "../transport/zmq/context.ts";
import { Journal } from "./journal.ts";

interface JournalProcessOptions {
  /** The engine's state folder. */
  readonly folder: string;
  /** The router's socket, `unix://PATH`, by which alone it takes a journal. */
  readonly backend: string;
}

const journalName = "journal.db";

/** Runs until it is told to leave. Throws StartError. */
export const runJournal = async ({ folder, backend }: JournalProcessOptions): Promise<void> => {
  let hasJoined = false;
  const tag = `[JOURNAL-${process.pid}]`;
  using journal = new Journal({
    path: join(folder, journalName),
    onDamaged: (name, why) => {
      error(`${tag} The journal was damaged (${why}): ${join(folder, name)} has what is left of it`);
      tellSupervisor({ type: "damaged", why: `the journal was damaged and is now ${name}; durable jobs may be lost` });
      // At once: the router writes to the new file what it knows, before anything else is
      // confirmed.
      if (hasJoined) queueMicrotask(report);
    },
  });
  journal.retain();
  // Before the router knows it: a stop for a damaged file holds before anything can begin.
  tellSupervisor({ type: "online" });

  let isCommitting = false;
  let reported = "";
  let reportTimer: Timer | null = null;
  let historyTimer: Timer | null = null;
  let probeTimer: Timer | null = null;
  let failure: string | null = null;

  const report = (): void => {
    const now = journal.report();
    const text = JSON.stringify(now);
    if (text !== reported) link.journal({ type: "JOURNAL", ...now });
    reported = text;
  };
  const reportSoon = (): void => {
    reportTimer ??= setTimeout(() => {
      reportTimer = null;
      report();
    }, beatIntervalMs);
  };
  const flushHistorySoon = (): void => {
    if (!journal.hasHistory) return;
    historyTimer ??= setTimeout(() => {
      historyTimer = null;
      journal.flushHistory();
      reportSoon();
    }, historyFlushMs);
  };

  /**
   * The router sends nothing to a journal that cannot write: that finds out by itself when it can.
   */
  const probe = (): void => {
    probeTimer = null;
    journal.probe();
    noteFailure();
  };
  const noteFailure = (): void => {
    const before = failure;
    failure = journal.failure;
    if (failure !== null) probeTimer ??= setTimeout(probe, journalRetryMs);
    if ((failure === null) === (before === null)) return;
    if (failure === null) warn(`${tag} The disk takes what is written again`);
    else warn(`${tag} Nothing can be written: ${failure}; durable jobs are refused until it can`);
    report();
  };

  /** Commits what has come until now: while one commit waits for the disk, the next one gathers. */
  const commit = (): void => {
    isCommitting = false;
    const done = journal.commit();
    if (done === null) return;
    link.journal({ type: "COMMITTED", ...done });
    flushHistorySoon();
    noteFailure();
    reportSoon();
  };

  const onJournal = (header: JournalHeader, bodies: readonly Frame[]): void => {
    if (header.type === "RECOVER") {
      const found = journal.read(header.from);
      if (found === null) return void report();
      const { kept, bodies: frames, next, schedules } = found;
      link.journal({ type: "RECOVERED", kept: [...kept], next, schedules: [...schedules] }, frames);
      return;
    }
    if (header.type === "LOGS") {
      link.journal({ type: "LOGGED", request: header.request }, [journal.logOf(header.job)]);
      return;
    }
    journal.append(header.from, header.entries, bodies);
    if (isCommitting) return;
    isCommitting = true;
    queueMicrotask(commit);
  };

  const link = new BackendLink({
    endpoint: backend,
    keys: {},
    tag,
    ready: {
      type: "READY",
      role: "journal",
      id: `JOURNAL-${process.pid}`,
      pid: process.pid,
      tasks: [],
      endpoint: "",
      supervised: true,
    },
    onWelcome: () => {
      hasJoined = true;
      reported = "";
      report();
      noteFailure();
    },
    onWork: () => undefined,
    onJournal,
  });
  const retention = setInterval(() => journal.retain(), retentionLookMs);

  await new Promise<void>((resolve) => onLeaveRequest(resolve));
  tellSupervisor({ type: "recycle", why: "it was told to end" });
  clearInterval(retention);
  for (const timer of [reportTimer, historyTimer, probeTimer]) if (timer !== null) clearTimeout(timer);
  commit();
  journal.flushHistory();
  link.close();
  terminateContext();
};
