/** What the journal keeps besides jobs: logs, runs of schedules, for whom a job was asked, dead letters after damage. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import type { NamedPolicy } from "../../src/broker/events.ts";
import { journalAbsentMs, journalLogsMs } from "../../src/limits.ts";
import { encodeControlRequest, encodeTaskRequest } from "../../src/protocol/encode-request.ts";
import { decodeRequest } from "../../src/protocol/requests.ts";
import { BenchJournal } from "../support/bench-journal.ts";
import { BrokerBench } from "../support/broker-bench.ts";
import { asReceived } from "../support/frames.ts";
import { type TempFolder, tempFolder } from "../support/temp-folder.ts";

const photo: NamedPolicy = { name: "photo", moves: false, everyMs: 10_000 };
const upload: NamedPolicy = { name: "upload", moves: false, durable: true };
const nightly: NamedPolicy = { name: "nightly", moves: false, schedule: { cron: "0 3 * * *", misfire: "once" } };

let folder: TempFolder;
let bench: BrokerBench;
let journal: BenchJournal;
beforeEach(() => {
  folder = tempFolder();
});
afterEach(() => {
  journal[Symbol.dispose]();
  folder[Symbol.dispose]();
});

/** A router that has just been started. @param jump s by which the wall clock is later */
const start = (tasks: readonly NamedPolicy[], jump = 0): void => {
  bench = new BrokerBench();
  bench.wallJumpSeconds = jump;
  bench.handle({ type: "tasks", tasks });
  bench.ready("w1", [...tasks]);
  journal = new BenchJournal(bench, folder.at("journal.db"));
  journal.commit();
};
const restart = (tasks: readonly NamedPolicy[], jump?: number): void => {
  journal.flush();
  journal[Symbol.dispose]();
  start(tasks, jump);
};

const answerTo = (control: Parameters<BrokerBench["control"]>[0], who?: string): unknown => {
  bench.control(control, who);
  journal.commit();
  const reply = bench.answers.at(-1)?.reply;
  return reply?.kind === "error" ? reply.error.code : reply?.kind === "ack" ? reply.data : reply?.kind;
};
const logOf = (job: string) => answerTo({ command: "logs", job });
const say = (level: string, text: string): void => {
  const body = Buffer.from(JSON.stringify({ data: { level, text }, pack: 1 }));
  bench.say("w1", { type: "LOG", job: bench.jobsOf("w1").at(-1) ?? 0 }, [body]);
};
const send = (serial: string, task = "upload"): string => {
  bench.ask(serial, task, { durable: true });
  journal.commit();
  const reply = bench.answers.at(-1)?.reply;
  return reply?.kind === "accepted" ? reply.job.job : "";
};
const scheduled = () => (answerTo({ command: "schedules" }) as { schedules: unknown[] }).schedules;

describe("the log of a durable job", () => {
  test("is there after a restart with its times, levels and lines of several, in pages", () => {
    start([upload]);
    const id = send("a");
    say("info", "read day.log\n 3 lines");
    say("error", "refused");
    bench.fail("w1", bench.jobsOf("w1").at(-1) ?? 0);
    journal.commit();
    const lines = [
      { at: expect.any(Number), job: id, task: "upload", level: "info", text: "read day.log\n 3 lines" },
      { at: expect.any(Number), job: id, task: "upload", level: "error", text: "refused" },
    ];
    const before = logOf(id);
    expect(before).toEqual({ lines, next: null });
    restart([upload]);
    expect(logOf(id)).toEqual(before);
    expect(answerTo({ command: "logs", job: id, limit: 1 })).toEqual({ lines: lines.slice(1), next: 2 });
    expect(answerTo({ command: "logs", job: id, before: 2 })).toEqual({ lines: lines.slice(0, 1), next: null });
    expect(answerTo({ command: "jobs", dead: true })).toMatchObject({ jobs: [{ job: id }] });
    expect(answerTo({ command: "logs" })).toEqual({ lines: [], next: null });
  });

  test("comes from memory where the journal does not answer, and nobody waits for ever", () => {
    start([upload]);
    const id = send("a");
    say("info", "click");
    bench.done("w1", bench.jobsOf("w1").at(-1) ?? 0);
    journal.commit();
    bench.answers.length = 0;
    bench.control({ command: "logs", job: id });
    expect(bench.answers).toEqual([]);
    bench.passWith(["w1", "journal"], journalLogsMs);
    expect(bench.answers.at(-1)?.reply).toMatchObject({ data: { lines: [{ text: "click" }] } });
    journal.die();
    expect(logOf(id)).toMatchObject({ lines: [{ text: "click" }] });
  });
});

test("a run of a schedule that is not durable is history: its result and its log are there after a restart", () => {
  start([photo]);
  bench.passWith(["w1", "journal"], 10_000);
  say("info", "click");
  bench.done("w1", ...bench.jobsOf("w1"));
  journal.commit();
  const [before] = scheduled() as [{ code: string; last: number }];
  expect(before.code).toBe("done");
  restart([photo]);
  const { jobs } = answerTo({ command: "jobs" }) as { jobs: { job: string }[] };
  expect(jobs).toMatchObject([{ task: "photo", state: "done", requestor: "schedule photo", args: [], ms: 0.1 }]);
  const { job = "" } = jobs[0] ?? {};
  expect(logOf(job)).toMatchObject({ lines: [{ text: "click" }] });
  expect(answerTo({ command: "result", job })).toBe("result 1");
  expect(scheduled()).toMatchObject([{ name: "photo", code: "done", last: expect.closeTo(before.last, -1) }]);
});

test("a durable run of a schedule that goes on after a restart is its last run, and the next one does not overlap it", () => {
  const both: NamedPolicy = { ...photo, durable: true, idempotent: { backoffMs: 1 } };
  start([both]);
  bench.passWith(["w1", "journal"], 10_000);
  journal.commit();
  expect(bench.jobsOf("w1")).toHaveLength(1);
  restart([both]);
  bench.passWith(["w1", "journal"], 10_000);
  journal.commit();
  expect(scheduled()).toMatchObject([{ code: null, skipped: 1, why: "its last run has not ended" }]);
  bench.done("w1", bench.jobsOf("w1").at(-1) ?? 0);
  journal.commit();
  expect(scheduled()).toMatchObject([{ code: "done" }]);
});

describe("a schedule that makes up for a missed run", () => {
  const day = 24 * 3600;
  const runs = () => bench.jobsOf("w1").length;
  /** The clock is known, and the journal has what it was told. */
  const settle = (): void => {
    bench.handle({ type: "clock" });
    journal.commit();
    bench.passWith(["w1", "journal"], 1000);
  };

  test("runs once after a restart, however many were due, and not again after the next one", () => {
    start([nightly]);
    settle();
    restart([nightly], 3 * day);
    expect(runs()).toBe(0);
    settle();
    expect(runs()).toBe(1);
    restart([nightly], 3 * day);
    settle();
    expect(runs()).toBe(0);
    expect(scheduled()).toMatchObject([{ skipped: 0, why: null }]);
  });

  test("begins its run once the journal has noted it, or cannot", () => {
    start([nightly]);
    settle();
    restart([nightly], day);
    bench.handle({ type: "clock" });
    expect(runs()).toBe(0);
    journal.commit({ failure: "database or disk is full" });
    expect(runs()).toBe(1);
  });

  test("leaves out what was due during an emergency stop", () => {
    start([nightly]);
    settle();
    journal.flush();
    journal[Symbol.dispose]();
    bench = new BrokerBench();
    bench.wallJumpSeconds = day;
    bench.handle({ type: "stopped", stopped: { reason: "dog", since: 1 } });
    bench.handle({ type: "tasks", tasks: [nightly] });
    bench.ready("w1", [nightly]);
    journal = new BenchJournal(bench, folder.at("journal.db"));
    bench.handle({ type: "stopped", stopped: null });
    settle();
    expect(runs()).toBe(0);
    expect(scheduled()).toMatchObject([{ skipped: 1, why: "it was due during an emergency stop" }]);
  });

  test("does not run for a rule that it has not had, nor when a reload changes its arguments", () => {
    start([nightly]);
    settle();
    restart([{ ...nightly, schedule: { cron: "0 4 * * *", misfire: "once" } }], day);
    settle();
    expect(runs()).toBe(0);
    restart([], 2 * day);
    bench.handle({ type: "clock" });
    bench.handle({ type: "tasks", tasks: [nightly] });
    settle();
    bench.handle({ type: "tasks", tasks: [] });
    bench.handle({ type: "tasks", tasks: [nightly] });
    journal.commit();
    expect(runs()).toBe(0);
  });

  test("goes on without a journal that does not come", () => {
    bench = new BrokerBench();
    bench.handle({ type: "tasks", tasks: [nightly] });
    bench.ready("w1", [nightly]);
    bench.handle({ type: "clock" });
    expect(bench.broker.waitsForClock).toBe(false);
    bench.control({ command: "schedules" });
    expect(bench.answers.at(-1)?.reply).toMatchObject({
      data: { schedules: [{ next: null, why: expect.stringContaining("journal") }] },
    });
    bench.passWith(["w1"], journalAbsentMs + 10_000);
    bench.control({ command: "schedules" });
    expect(bench.answers.at(-1)?.reply).toMatchObject({
      data: { schedules: [{ next: expect.any(Number), why: null }] },
    });
    journal = new BenchJournal(bench, folder.at("journal.db"));
  });
});

test("a job that a gateway has asked for belongs to the person after a restart, too", () => {
  const lines = ["gateway send:upload delegate", "other send:upload delegate"];
  start([upload]);
  const asFor = (name: string, frames: ReturnType<typeof encodeTaskRequest>): unknown => {
    const requestor = { peer: name, envelope: [] };
    bench.handle({ type: "request", requestor, user: "gateway", request: decodeRequest(asReceived(frames)) });
    journal.commit();
    const reply = bench.answers.at(-1)?.reply;
    if (reply?.kind === "accepted") return reply.job.job;
    return reply?.kind === "error" ? reply.error.code : reply?.kind === "ack" ? reply.data : reply?.kind;
  };
  const origin = (name: string, serial: string) => ({
    ...{ id: "CLIENT-1", serial, onBehalf: { name, rights: ["send:upload"] } },
  });
  const stateFor = (name: string) =>
    asFor(name, encodeControlRequest(origin(name, "job"), { command: "job", job: id }));
  bench.authorize(...lines);
  const id = String(asFor("anna", encodeTaskRequest(origin("anna", "a"), "upload", [], {}, { durable: true }, 0.3)));
  expect(stateFor("anna")).toMatchObject({ requestor: "anna" });
  expect(stateFor("ben")).toBe("UNAUTHORIZED");
  bench.done("w1", ...bench.jobsOf("w1"));
  journal.commit();
  journal[Symbol.dispose]();
  bench = new BrokerBench();
  bench.authorize(...lines);
  bench.handle({ type: "tasks", tasks: [upload] });
  journal = new BenchJournal(bench, folder.at("journal.db"));
  expect(stateFor("anna")).toMatchObject({ requestor: "anna", state: "done" });
  expect(stateFor("ben")).toBe("UNAUTHORIZED");
});

test("dead letters are in the new file, too, after the journal was damaged", () => {
  start([upload]);
  const id = send("a");
  bench.fail("w1", bench.jobsOf("w1").at(-1) ?? 0);
  journal.commit();
  expect(journal.states).toEqual(["failed TASK_ERROR dead"]);
  journal.die();
  journal[Symbol.dispose]();
  writeFileSync(folder.at("journal.db"), "no database".repeat(1000));
  journal = new BenchJournal(bench, folder.at("journal.db"));
  journal.commit();
  expect(journal.states).toEqual(["failed TASK_ERROR dead"]);
  restart([upload]);
  expect(answerTo({ command: "jobs", dead: true })).toMatchObject({
    jobs: [{ job: id, code: "TASK_ERROR", message: "it failed" }],
  });
  expect(answerTo({ command: "discard", job: id })).toEqual({ discarded: 1 });
  expect(journal.states).toEqual(["failed TASK_ERROR"]);
});
