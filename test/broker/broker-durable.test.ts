/** Durable jobs: what of their life the journal has before it happens, and what a new router makes of that. */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import type { NamedPolicy } from "../../src/broker/events.ts";
import { journalAbsentMs, journalRetryMs } from "../../src/limits.ts";
import type { TaskOptions } from "../../src/protocol/policy.ts";
import { BenchJournal } from "../support/bench-journal.ts";
import { BrokerBench } from "../support/broker-bench.ts";
import { type TempFolder, tempFolder } from "../support/temp-folder.ts";

const tasks: NamedPolicy[] = [
  { name: "upload", moves: false, durable: true },
  { name: "count", moves: false },
  { name: "copy", moves: false, durable: true, idempotent: { tries: 3, backoffMs: 10 } },
  { name: "patrol", resumesAfterRestart: true, durable: true },
  { name: "drive", durable: true },
];

let folder: TempFolder;
let bench: BrokerBench;
let journal: BenchJournal;
beforeEach(() => {
  folder = tempFolder();
  bench = engine();
});
afterEach(() => {
  journal[Symbol.dispose]();
  folder[Symbol.dispose]();
});

/** A router that has just been started, with one worker. */
const engine = (): BrokerBench => {
  const made = new BrokerBench();
  made.handle({ type: "tasks", tasks });
  made.handle({ type: "clock" });
  made.ready("w1", tasks);
  journal = new BenchJournal(made, folder.at("journal.db"));
  return made;
};

/** The router dies with all that it knows, and another one takes its place. */
const restart = (): void => {
  journal[Symbol.dispose]();
  bench = engine();
};

const last = () => {
  const reply = bench.answers.at(-1)?.reply;
  if (reply?.kind === "accepted") return reply.job.state;
  return reply?.kind === "error" ? reply.error.code : reply?.kind;
};

/** Returns its id. */
const send = (serial: string, task = "upload", options: TaskOptions = {}): string => {
  bench.ask(serial, task, { durable: true, ...options });
  journal.commit();
  const reply = bench.answers.at(-1)?.reply;
  return reply?.kind === "accepted" ? reply.job.job : "";
};

const stateOf = (job: string): unknown => {
  bench.control({ command: "job", job });
  const reply = bench.answers.at(-1)?.reply;
  return reply?.kind === "ack" ? (reply.data as { state: string }).state : last();
};

/** Of the jobs that the worker was handed. */
const serials = () => bench.headersOf("w1").flatMap((header) => (header.type === "JOBS" ? header.serials : []));

const handed = () => bench.jobsOf("w1");

describe("a durable job", () => {
  test("is accepted once it is on the disk, and begins once the disk knows that it may have begun", () => {
    bench.ask("a", "upload", { durable: true });
    expect(bench.answers).toEqual([]);
    expect(handed()).toEqual([]);
    journal.commit();
    expect(last()).toBe("queued");
    expect(journal.states).toEqual(["running"]);
    expect(handed()).toHaveLength(1);
    bench.done("w1", ...handed());
    journal.commit();
    expect(journal.states).toEqual(["done"]);
  });

  test("ends for everybody once its end is on the disk", () => {
    const id = send("a");
    bench.control({ command: "result", job: id, waitMs: 1000 }, "watcher");
    bench.done("w1", ...handed());
    expect(bench.answers.filter(({ to }) => to === "watcher")).toEqual([]);
    expect(stateOf(id)).toBe("running");
    journal.commit();
    expect(bench.answers.filter(({ to }) => to === "watcher")).toHaveLength(1);
    expect(stateOf(id)).toBe("done");
  });

  test("leaves its worker to others while the disk is slow", () => {
    bench.ask("a", "upload", { durable: true });
    bench.ask("b", "count");
    expect(serials()).toEqual(["b"]);
    bench.done("w1", ...handed());
    expect(last()).toBe("ack");
  });

  test("that waits is not noted as begun for a worker that has enough", () => {
    for (const serial of ["a", "b", "c"]) bench.ask(serial, "upload", { durable: true });
    journal.commit();
    expect(journal.states).toEqual(["running", "queued", "queued"]);
    expect(handed()).toHaveLength(1);
  });

  test("of a paused task waits, and does not count as begun, so that it begins after a crash", () => {
    const known = bench.status.tasks as unknown as { name: string }[];
    expect(known.map(({ name }) => name)).toContain("upload");
    bench.ask("early", "upload", { durable: true });
    bench.control({ command: "pause", task: "upload" });
    journal.commit();
    send("late");
    expect(handed()).toEqual([]);
    expect(journal.states).toEqual(["queued", "queued"]);
    restart();
    journal.commit();
    expect(serials()).toEqual(["early"]);
  });

  test("that waits for the disk to begin when its task is paused is queued again there, and begins when resumed", () => {
    const id = send("running");
    bench.ask("next", "upload", { durable: true });
    journal.commit();
    bench.done("w1", ...handed());
    // The disk is about to note that it may have begun.
    bench.control({ command: "pause", task: "upload" });
    journal.commit();
    expect(stateOf(id)).toBe("done");
    expect(serials()).toEqual(["running"]);
    expect(journal.states).toEqual(["done", "queued"]);
    bench.control({ command: "resume", task: "upload" });
    journal.commit();
    expect(serials()).toEqual(["running", "next"]);
  });

  test("is refused where its task does not allow it, and by a task that may move something", () => {
    bench.ask("a", "count", { durable: true });
    expect(last()).toBe("NOT_DURABLE");
    bench.ask("b", "drive", { durable: true });
    expect(last()).toBe("BAD_ARGS");
    bench.ask("c", "upload", { detach: true, durable: false });
    expect(last()).toBe("queued");
    expect(journal.states).toEqual([]);
  });

  test("is what a detached request of a durable task gets, and an attached one does not", () => {
    bench.ask("a", "upload", { detach: true });
    bench.ask("b", "upload");
    journal.commit();
    expect(journal.states).toHaveLength(1);
  });
});

describe("after a death of the router", () => {
  test("what had not begun is queued again in its order, before all that is new", () => {
    const ids = ["a", "b", "c"].map((serial) => send(serial));
    restart();
    journal.commit();
    expect(ids.map(stateOf)).toEqual(["interrupted", "running", "queued"]);
    bench.ask("d", "upload");
    expect(serials()).toEqual(["b"]);
    bench.done("w1", ...handed());
    journal.commit();
    expect(serials()).toEqual(["b", "d", "c"]);
    expect(journal.states).toEqual(["interrupted INTERRUPTED dead", "done", "running"]);
  });

  test("a job that was accepted but not confirmed to the router runs once", () => {
    bench.ask("a", "upload", { durable: true });
    journal.commit({ confirms: false });
    restart();
    journal.commit();
    expect(handed()).toHaveLength(1);
    expect(bench.answers).toEqual([]);
  });

  test("a job that is known to have begun does not run again, even if it never got to a worker", () => {
    bench.ask("a", "upload", { durable: true });
    journal.commit();
    const before = journal.states;
    expect(before).toEqual(["running"]);
    restart();
    journal.commit();
    expect(handed()).toEqual([]);
    expect(journal.states).toEqual(["interrupted INTERRUPTED dead"]);
  });

  test("an idempotent job is tried again, with its tries counted", () => {
    const id = send("a", "copy");
    for (let tries = 1; tries < 3; tries++) {
      expect(handed()).toHaveLength(1);
      restart();
      journal.commit();
    }
    expect(handed()).toHaveLength(1);
    restart();
    journal.commit();
    expect(handed()).toEqual([]);
    expect(stateOf(id)).toBe("interrupted");
  });

  test("results, errors and dead letters can be asked for by their ids", () => {
    const [done, failed] = [send("a"), send("b")];
    bench.done("w1", ...handed());
    journal.commit();
    bench.fail("w1", handed().at(-1) ?? 0);
    journal.commit();
    restart();
    bench.control({ command: "result", job: done });
    expect(bench.answers.at(-1)?.reply).toMatchObject({ kind: "ack", data: expect.stringContaining("result") });
    bench.control({ command: "result", job: failed });
    expect(last()).toBe("TASK_ERROR");
    expect(journal.states).toEqual(["done", "failed TASK_ERROR dead"]);
  });

  test("its ttlMs counts from its acceptance, and a unique key is still its own", () => {
    send("a", "upload", { ttlMs: 60_000 });
    send("b", "upload", { ttlMs: 60_000, unique: "k" });
    bench.control({ command: "jobs" });
    const ids = send("c", "upload", { unique: "k" });
    restart();
    expect(send("d", "upload", { unique: "k" })).toBe(ids);
  });

  test("its delayMs counts from its acceptance, and its ttlMs from the end of that, over both of its routers", () => {
    bench.ask("a", "upload", { durable: true, delayMs: 1000, ttlMs: 500 });
    bench.passWith(["w1", "journal"], 400);
    journal.commit();
    bench.passWith(["w1", "journal"], 601);
    journal.commit();
    expect(handed()).toHaveLength(1);
    bench.done("w1", ...handed());
    send("b", "upload", { delayMs: 1000, ttlMs: 500 });
    restart();
    bench.pass(1200);
    journal.commit();
    expect(serials()).toEqual(["b"]);
  });

  test("a time limit by the wall clock waits for its synchronisation, and nothing else does", () => {
    send("a", "copy", { ttlMs: 60_000 });
    send("b", "copy");
    send("c", "copy", { notBefore: bench.wall + 30 });
    const made = new BrokerBench();
    // The machine has booted with a clock that is an hour late.
    made.wallJumpSeconds = -3600;
    made.handle({ type: "tasks", tasks });
    made.ready("w1", tasks);
    journal[Symbol.dispose]();
    journal = new BenchJournal(made, folder.at("journal.db"));
    bench = made;
    journal.commit();
    expect(bench.broker.waitsForClock).toBe(true);
    expect(serials()).toEqual(["b"]);
    made.wallJumpSeconds = 10;
    bench.handle({ type: "clock" });
    bench.done("w1", ...handed());
    journal.commit();
    expect(serials()).toEqual(["b", "a"]);
    bench.done("w1", ...handed().slice(-1));
    journal.commit();
    bench.passWith(["w1", "journal"], 20_100);
    journal.commit();
    expect(serials()).toEqual(["b", "a", "c"]);
    expect(bench.broker.waitsForClock).toBe(false);
  });

  test("a task that is gone or moves something by now leaves a dead letter", () => {
    send("a");
    send("b", "patrol");
    const made = new BrokerBench();
    made.handle({ type: "tasks", tasks: [{ name: "patrol", durable: true }] });
    made.ready("w1", [{ name: "patrol", durable: true }]);
    journal[Symbol.dispose]();
    journal = new BenchJournal(made, folder.at("journal.db"));
    bench = made;
    journal.commit();
    expect(handed()).toEqual([]);
    expect(journal.states).toEqual(["interrupted INTERRUPTED dead", "failed NOT_DURABLE dead"]);
  });
});

describe("a durable job that its requestor may not send any more", () => {
  test("ends, though the request was answered long ago", () => {
    bench.users.set("requestor", "laptop");
    bench.authorize("laptop send");
    for (const serial of ["a", "b"]) send(serial);
    bench.authorize("laptop send:count");
    journal.commit();
    expect(journal.states).toEqual(["running", "failed UNAUTHORIZED dead"]);
  });

  test("is not begun by the next router, which knows its requestor's rights from its start", () => {
    bench.users.set("requestor", "laptop");
    bench.authorize("laptop send");
    send("a", "patrol", { delayMs: 1000 });
    const made = new BrokerBench();
    made.authorize("phone send");
    made.handle({ type: "tasks", tasks });
    made.ready("w1", tasks);
    journal[Symbol.dispose]();
    journal = new BenchJournal(made, folder.at("journal.db"));
    bench = made;
    journal.commit();
    expect(handed()).toEqual([]);
    expect(journal.states).toEqual(["failed UNAUTHORIZED dead"]);
  });
});

describe("status", () => {
  const counts = () => {
    const { accepted, done, waiting, held } = bench.status.jobs ?? {};
    return { accepted, done, waiting, held };
  };

  test("counts a job from its acceptance on the disk to its end on the disk", () => {
    bench.ask("a", "upload", { durable: true });
    expect(counts()).toEqual({ accepted: 0, done: 0, waiting: 0, held: 0 });
    journal.commit();
    expect(counts()).toEqual({ accepted: 1, done: 0, waiting: 0, held: 1 });
    bench.done("w1", ...handed());
    expect(counts()).toEqual({ accepted: 1, done: 0, waiting: 0, held: 1 });
    journal.commit();
    expect(counts()).toEqual({ accepted: 1, done: 1, waiting: 0, held: 0 });
  });

  test("leaves out what the next engine goes on with", () => {
    send("a", "upload", { delayMs: 1000 });
    bench.handle({ type: "drain" });
    expect(counts()).toEqual({ accepted: 0, done: 0, waiting: 0, held: 0 });
  });
});

describe("the journal's own trouble", () => {
  test("a job that was stopped before the disk refuses it is answered once, and counted nowhere", () => {
    bench.ask("a", "patrol", { durable: true });
    bench.estop("a tree");
    journal.commit({ failure: "database or disk is full" });
    bench.pass(journalRetryMs);
    journal.commit();
    expect(bench.ends.filter((end) => end.startsWith("a: "))).toEqual(["a: STORE_FULL"]);
    expect(bench.status.jobs).toMatchObject({ accepted: 0, failed: {}, waiting: 0, held: 0 });
    expect(journal.states).toEqual([]);
  });

  test("a job that the disk refuses is STORE_FULL, and nothing of it is left", () => {
    bench.ask("a", "upload", { durable: true });
    journal.commit({ failure: "database or disk is full" });
    expect(last()).toBe("STORE_FULL");
    expect(bench.leftovers).toMatchObject({ waiting: 0, held: 0 });
    journal.report("database or disk is full");
    bench.ask("b", "upload", { durable: true });
    expect(last()).toBe("STORE_FULL");
    bench.ask("c", "count");
    bench.done("w1", ...handed());
    expect(last()).toBe("ack");
    journal.report();
    expect(send("d")).not.toBe("");
  });

  test("a beginning that the disk refuses is tried again later", () => {
    bench.ask("a", "upload", { durable: true });
    const journalOf = () => bench.headersOf("journal").filter(({ type }) => type === "APPEND").length;
    const first = journalOf();
    journal.commit();
    bench.done("w1", ...handed());
    journal.commit({ failure: "disk I/O error" });
    expect(journal.states).toEqual(["running"]);
    bench.pass(journalRetryMs);
    journal.commit();
    expect(journal.states).toEqual(["done"]);
    expect(journalOf()).toBeGreaterThan(first);
  });

  test("a journal that dies gets again what it has not confirmed, and its jobs end once", () => {
    bench.ask("a", "upload", { durable: true });
    journal.commit({ confirms: false });
    journal.die();
    expect(last()).toBeUndefined();
    bench.ask("b", "upload", { durable: true });
    expect(last()).toBeUndefined();
    journal.join();
    journal.commit();
    expect(bench.ends).toEqual(["a: ACK", "b: ACK"]);
    expect(journal.states).toEqual(["running", "queued"]);
    expect(handed()).toHaveLength(1);
  });

  test("a journal that comes back with an empty file gets all that has not ended, and no job runs twice", () => {
    const ids = ["a", "b", "c"].map((serial) => send(serial));
    bench.done("w1", ...handed());
    journal.commit();
    bench.done("w1", ...handed().slice(-1));
    journal.die();
    journal[Symbol.dispose]();
    writeFileSync(folder.at("journal.db"), "no database".repeat(1000));
    journal = new BenchJournal(bench, folder.at("journal.db"));
    journal.commit();
    expect(bench.logs).toContainEqual(expect.stringContaining("damaged-"));
    // The first one had ended, and is history that was lost.
    expect(journal.states).toEqual(["running", "done"]);
    bench.done("w1", handed()[1] ?? 0);
    journal.commit();
    restart();
    journal.commit();
    expect(ids.map(stateOf)).toEqual(["UNKNOWN_JOB", "done", "done"]);
    expect(handed()).toEqual([]);
  });

  test("a journal that does not come back refuses jobs after a while", () => {
    journal.die();
    bench.ask("a", "upload", { durable: true });
    bench.passWith(["w1"], journalAbsentMs + 1);
    bench.ask("b", "upload", { durable: true });
    expect(bench.ends).toEqual(["b: STORE_FULL"]);
    journal.join();
    journal.commit();
    expect(bench.ends).toEqual(["b: STORE_FULL", "a: ACK"]);
  });
});

describe("at the end of the engine", () => {
  test("durable jobs stay queued, those that have not begun included", () => {
    const ids = ["a", "b", "c"].map((serial) => send(serial));
    bench.handle({ type: "drain" });
    bench.done("w1", ...handed());
    journal.commit();
    expect(bench.wishes).toContain("drained");
    expect(journal.states).toEqual(["done", "queued", "queued"]);
    restart();
    journal.commit();
    expect(ids.map(stateOf)).toEqual(["done", "running", "queued"]);
  });

  test("an emergency stop makes dead letters of what moves, and lets the rest wait", () => {
    send("a", "patrol");
    send("b", "patrol");
    send("c", "upload");
    bench.estop("a hand is in the arm");
    bench.fail("w1", handed()[0] ?? 0, "STOPPED");
    journal.commit();
    expect(journal.states).toEqual(["stopped STOPPED dead", "stopped STOPPED dead", "queued"]);
    bench.reset();
    journal.commit();
    expect(serials()).toEqual(["a", "c"]);
  });
});

describe("a dead letter", () => {
  /** Returns its id. */
  const fail = (serial: string, task = "upload", options: TaskOptions = {}): string => {
    const id = send(serial, task, options);
    bench.fail("w1", handed().at(-1) ?? 0);
    journal.commit();
    expect(last()).not.toBe("error");
    return id;
  };

  const retry = (job: string, confirm?: boolean): string => {
    bench.control({ command: "retry", job, ...(confirm !== undefined && { confirm }) });
    journal.commit();
    const reply = bench.answers.at(-1)?.reply;
    return reply?.kind === "ack" ? (reply.data as { job: string }).job : String(last());
  };

  const dead = (): unknown[] => {
    bench.control({ command: "jobs", dead: true });
    const reply = bench.answers.at(-1)?.reply;
    if (reply?.kind !== "ack") throw new Error("CONTROL jobs was not answered");
    return (reply.data as { jobs: { job: string }[] }).jobs.map(({ job }) => job);
  };

  test("is retried as a new job of its requestor, durable again, and gone", () => {
    const id = fail("a");
    expect(dead()).toEqual([id]);
    const again = retry(id);
    expect(again).not.toBe(id);
    expect(dead()).toEqual([]);
    expect(journal.states).toEqual(["failed TASK_ERROR", "running"]);
    expect(serials()).toEqual(["a", "a"]);
    bench.done("w1", handed().at(-1) ?? 0);
    journal.commit();
    expect(stateOf(again)).toBe("done");
    restart();
    expect(dead()).toEqual([]);
    expect(stateOf(again)).toBe("done");
    expect(retry(id)).toBe("UNKNOWN_JOB");
  });

  test("is retried after a restart of the router, too, and by nobody twice at a time", () => {
    const id = fail("a");
    restart();
    bench.control({ command: "retry", job: id });
    bench.control({ command: "retry", job: id });
    expect(last()).toBe("UNKNOWN_JOB");
    journal.commit();
    expect(handed()).toHaveLength(1);
    bench.fail("w1", handed().at(-1) ?? 0);
    journal.commit();
    expect(dead()).toHaveLength(1);
    expect(dead()).not.toEqual([id]);
  });

  test("of a task that may move something is retried only by who confirms it", () => {
    const id = fail("a", "patrol");
    expect(retry(id)).toBe("UNCONFIRMED");
    const reply = bench.answers.at(-1)?.reply;
    expect(reply).toMatchObject({
      error: {
        message: `patrol may move something; if that is safe, run task-engine retry ${id} --yes, or say \`"confirm": true\``,
      },
    });
    expect(dead()).toEqual([id]);
    expect(stateOf(retry(id, true))).toBe("running");
  });

  test("is not retried in an emergency stop, without its task, or where the disk takes nothing", () => {
    const id = fail("a", "patrol");
    bench.control({ command: "estop" });
    expect(retry(id, true)).toBe("STOPPED");
    bench.control({ command: "reset" });
    bench.handle({ type: "stopped", stopped: null });
    bench.handle({ type: "tasks", tasks: [] });
    bench.say("w1", { type: "LEAVE" });
    expect(retry(id, true)).toBe("UNKNOWN_TASK");
    bench.handle({ type: "tasks", tasks });
    bench.control({ command: "retry", job: id, confirm: true });
    journal.commit({ failure: "database or disk is full" });
    expect(last()).toBe("STORE_FULL");
    expect(dead()).toEqual([id]);
  });

  test("begins at once whatever delay it had, and not beside another job of its unique key", () => {
    bench.ask("a", "upload", { durable: true, delayMs: 1000, unique: "nightly" });
    journal.commit();
    bench.passWith(["w1"], 1100);
    journal.commit();
    bench.fail("w1", handed().at(-1) ?? 0);
    journal.commit();
    const [id] = dead() as [string];
    send("b", "upload", { unique: "nightly" });
    expect(retry(id)).toBe("BAD_ARGS");
    bench.done("w1", handed().at(-1) ?? 0);
    journal.commit();
    const again = retry(id);
    expect(stateOf(again)).toBe("running");
    restart();
    journal.commit();
    expect(stateOf(again)).toBe("interrupted");
  });

  test("is discarded for good", () => {
    const id = fail("a");
    bench.control({ command: "discard", job: id });
    journal.commit();
    expect(bench.answers.at(-1)?.reply).toMatchObject({ data: { discarded: 1 } });
    expect(dead()).toEqual([]);
    restart();
    expect(dead()).toEqual([]);
    bench.control({ command: "discard", job: id });
    expect(last()).toBe("UNKNOWN_JOB");
  });
});
