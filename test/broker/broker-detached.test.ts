/** Jobs that nobody waits for: detached, delayed and unique ones, and what is known of them by their ids. */
import { beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import type { TaskOptions } from "../../src/protocol/policy.ts";
import { BrokerBench } from "../support/broker-bench.ts";

setDefaultTimeout(60_000); // a busy machine computes slowly

let bench: BrokerBench;
beforeEach(() => {
  bench = new BrokerBench();
  bench.ready("w1", [
    { name: "photo", moves: false },
    { name: "drive", resources: ["motors"] },
    { name: "patrol", resumesAfterRestart: true },
    { name: "hold", moves: false, deadmanMs: 300 },
  ]);
});

/** The last reply to a requestor: its kind and what it says. */
const lastReply = () => {
  const reply = bench.answers.at(-1)?.reply;
  if (reply?.kind === "accepted") return reply.job;
  return reply?.kind === "error" ? `${reply.error.code}: ${reply.error.message}` : reply;
};

/** Sends a job by version 0.3, and returns its id. */
const detach = (serial: string, task: string, options: TaskOptions = {}): string => {
  bench.ask(serial, task, { detach: true, ...options });
  const reply = bench.answers.at(-1)?.reply;
  if (reply?.kind !== "accepted") throw new Error(`not accepted: ${JSON.stringify(reply)}`);
  return reply.job.job;
};

const show = (job: string): Record<string, unknown> => {
  bench.control({ command: "job", job });
  const reply = bench.answers.at(-1)?.reply;
  return reply?.kind === "ack" ? (reply.data as Record<string, unknown>) : { error: reply };
};

describe("a detached job", () => {
  test("is accepted at once, runs on without its requestor, and its result is there for who asks", () => {
    const id = detach("a", "photo");
    expect(id).toMatch(/^[a-z2-7]{16}$/);
    expect(lastReply()).toEqual({ job: id, state: "queued", existing: false });
    bench.lose("requestor");
    expect(show(id)).toMatchObject({ state: "running", task: "photo", serial: "a", args: [], ended: null });
    bench.done("w1", 1);
    expect(bench.answers).toHaveLength(2);
    expect(show(id)).toMatchObject({ state: "done", code: null, worker: "TASK-1", ms: 0.1, tries: 0 });
    bench.control({ command: "result", job: id });
    expect(lastReply()).toMatchObject({ kind: "ack", data: "result 1", meta: { id: "TASK-1" } });
    expect(bench.leftovers).toMatchObject({ waiting: 0, held: 0 });
  });

  test("that fails has its error for who asks", () => {
    const id = detach("a", "photo");
    bench.fail("w1", 1);
    expect(show(id)).toMatchObject({ state: "failed", code: "TASK_ERROR", message: "it failed" });
    bench.control({ command: "result", job: id });
    expect(lastReply()).toBe("TASK_ERROR: it failed");
  });

  test("leaves its serial free, and a serial that is in use is refused", () => {
    detach("a", "photo");
    detach("a", "photo");
    bench.ask("b", "photo");
    bench.ask("b", "photo", { detach: true });
    expect(lastReply()).toStartWith("BAD_FRAME: META.serial");
  });

  test("of a task that may move something is refused, in one line that says what to write", () => {
    bench.ask("a", "drive", { detach: true });
    expect(lastReply()).toBe(
      "BAD_ARGS: drive may move something, so it cannot be detached; write `moves: false` in its definition " +
        "if it moves nothing, or `resumesAfterRestart: true`",
    );
    bench.ask("b", "drive", { delayMs: 10 });
    expect(lastReply()).toContain("cannot be delayed");
    detach("c", "patrol");
    bench.ask("d", "hold", { detach: true });
    expect(lastReply()).toStartWith("BAD_ARGS: hold has a deadmanMs");
    bench.batch("e", ["photo", "photo"], { detach: true });
    expect(lastReply()).toStartWith("BAD_ARGS: a part of a batch cannot be detached");
  });

  test("takes version 0.3", () => {
    bench.askInVersion(0.2, "a", "photo", { detach: true });
    expect(lastReply()).toBe("BAD_FRAME: TASK.options.detach: takes version 0.3");
  });

  test("is cancelled by its id, once", () => {
    const id = detach("a", "photo");
    const waiting = detach("b", "photo");
    bench.control({ command: "cancel", job: waiting });
    expect(lastReply()).toMatchObject({ kind: "ack", data: { cancelled: 1 } });
    expect(show(waiting)).toMatchObject({ state: "cancelled" });
    bench.control({ command: "cancel", job: id });
    expect(bench.abortsOf("w1")).toEqual(["1: CANCELLED"]);
    bench.fail("w1", 1, "CANCELLED");
    bench.control({ command: "cancel", job: id });
    expect(lastReply()).toMatchObject({ kind: "ack", data: { cancelled: 0 } });
  });

  test("counts in the share of its client until it has ended", () => {
    const id = detach("a", "photo");
    bench.control({ command: "cancel", job: id });
    bench.fail("w1", 1, "CANCELLED");
    expect(bench.leftovers).toMatchObject({ waiting: 0, held: 0 });
  });

  test("of whom nothing is known any more is said so", () => {
    bench.control({ command: "result", job: "aaaaaaaaaaaaaaaa" });
    expect(lastReply()).toBe('UNKNOWN_JOB: no job "aaaaaaaaaaaaaaaa" is known, any more or at all');
  });
});

describe("who waits for a result", () => {
  test("gets it when it is there, each of them, and ACCEPTED once more if it does not come in time", () => {
    const id = detach("a", "photo");
    bench.control({ command: "result", job: id, waitMs: 1000 }, "one");
    bench.control({ command: "result", job: id, waitMs: 2000 }, "two");
    bench.passWith(["w1"], 1500);
    expect(bench.answers.at(-1)).toMatchObject({ to: "one", reply: { kind: "accepted", job: { state: "running" } } });
    bench.done("w1", 1);
    expect(bench.answers.at(-1)).toMatchObject({ to: "two", reply: { kind: "ack", data: "result 1" } });
  });

  test("gives up by CANCEL or by leaving, and the job goes on", () => {
    const id = detach("a", "photo");
    bench.control({ command: "result", job: id, waitMs: 1000 }, "one");
    bench.cancel("result", "one");
    expect(lastReply()).toStartWith("CANCELLED");
    bench.control({ command: "result", job: id, waitMs: 1000 }, "two");
    bench.lose("two");
    expect(show(id)).toMatchObject({ state: "running" });
    expect(bench.abortsOf("w1")).toEqual([]);
  });
});

describe("a delayed job", () => {
  test("waits for its time, behind none, and its ttlMs counts from then on", () => {
    const id = detach("a", "photo", { delayMs: 1000, ttlMs: 100 });
    expect(lastReply()).toMatchObject({ state: "delayed" });
    bench.passWith(["w1"], 999);
    expect(bench.jobsOf("w1")).toEqual([]);
    expect(bench.status.jobs).toMatchObject({ waiting: 1 });
    bench.passWith(["w1"], 2);
    expect(bench.jobsOf("w1")).toEqual([1]);
    expect(show(id)).toMatchObject({ state: "running" });
  });

  test("begins by the wall clock where that is asked for, also when it jumps", () => {
    const notBefore = bench.wall + 3600;
    const id = detach("a", "photo", { notBefore });
    bench.passWith(["w1"], 10_000);
    expect(show(id)).toMatchObject({ state: "delayed", due: notBefore });
    bench.wallJumpSeconds += 3600;
    bench.passWith(["w1"], 10);
    expect(bench.jobsOf("w1")).toEqual([1]);
    // An hour back: the timer that is set already is too early.
    const later = detach("b", "photo", { notBefore: bench.wall + 60 });
    bench.wallJumpSeconds -= 3600;
    bench.passWith(["w1"], 120_000);
    expect(show(later)).toMatchObject({ state: "delayed" });
  });

  test("of an attached requestor is cancelled with it", () => {
    bench.ask("a", "photo", { delayMs: 1000 });
    bench.lose("requestor");
    bench.passWith(["w1"], 2000);
    expect(bench.jobsOf("w1")).toEqual([]);
    expect(bench.leftovers).toMatchObject({ waiting: 0, held: 0 });
  });

  test("cannot have both times", () => {
    bench.ask("a", "photo", { delayMs: 1, notBefore: 1 });
    expect(lastReply()).toBe("BAD_ARGS: `delayMs` excludes `notBefore`");
  });
});

describe("an emergency stop", () => {
  test("ends what waits and may move, and leaves what moves nothing in the queue, for after the reset", () => {
    const running = detach("a", "photo");
    const photo = detach("b", "photo");
    const patrol = detach("c", "patrol");
    const later = detach("d", "patrol", { delayMs: 1000 });
    bench.estop("a tree");
    bench.fail("w1", 1, "STOPPED");
    expect([running, photo, patrol, later].map((id) => show(id).state)).toEqual([
      "stopped",
      "queued",
      "stopped",
      "stopped",
    ]);
    bench.reset();
    expect(show(photo)).toMatchObject({ state: "running" });
  });
});

describe("a unique job", () => {
  test("is the only one of its task and key while it has not ended: the second requestor gets its id, or its result", () => {
    const id = detach("a", "photo", { unique: "garden" });
    bench.ask("b", "photo", { detach: true, unique: "garden" });
    expect(lastReply()).toEqual({ job: id, state: "running", existing: true });
    bench.ask("c", "photo", { unique: "garden" }, "other");
    bench.done("w1", 1);
    expect(bench.answers.at(-1)).toMatchObject({ to: "other", reply: { kind: "ack", data: "result 1" } });
    expect(detach("d", "photo", { unique: "garden" })).not.toBe(id);
  });

  test("is the only one within its window", () => {
    const unique = { key: "garden", windowMs: 1000 };
    const id = detach("a", "photo", { unique });
    bench.done("w1", 1);
    bench.passWith(["w1"], 500);
    expect(detach("b", "photo", { unique })).toBe(id);
    bench.ask("c", "photo", { unique });
    expect(lastReply()).toMatchObject({ kind: "ack", data: "result 1" });
    bench.passWith(["w1"], 600);
    expect(detach("d", "photo", { unique })).not.toBe(id);
  });

  test("with other arguments is a mistake", () => {
    detach("a", "photo", { unique: "garden" });
    bench.askWith("b", "photo", [1], { unique: "garden", detach: true });
    expect(lastReply()).toStartWith("BAD_ARGS: a job of photo with this unique key has other arguments");
  });
});

describe("the log of a job", () => {
  const say = (id: number, level: string, text: unknown): void =>
    bench.say("w1", { type: "LOG", job: id }, [Buffer.from(JSON.stringify({ data: { level, text }, pack: 1 }))]);
  const logs = (of: object = {}): unknown => {
    bench.control({ command: "logs", ...of });
    const reply = bench.answers.at(-1)?.reply;
    return reply?.kind === "ack" ? reply.data : reply;
  };

  test("has its lines and its errors, by job and task, in pages, after its end, too", () => {
    const id = detach("a", "photo");
    say(1, "info", "click");
    say(1, "error", "the lens is dirty");
    bench.fail("w1", 1);
    const other = detach("b", "patrol");
    say(2, "info", "left");
    expect(logs({ job: id })).toMatchObject({
      lines: [
        { job: id, task: "photo", level: "info", text: "click" },
        { job: id, level: "error", text: "the lens is dirty" },
      ],
      next: null,
    });
    expect(logs({ task: "patrol" })).toMatchObject({ lines: [{ job: other, text: "left" }] });
    expect(logs({ limit: 1 })).toMatchObject({ lines: [{ text: "left" }], next: 3 });
    expect(logs({ limit: 1, before: 3 })).toMatchObject({ lines: [{ text: "the lens is dirty" }], next: 2 });
  });

  test("takes no line of a job that its worker does not have, and none that is no line", () => {
    detach("a", "photo");
    say(7, "info", "click");
    say(1, "loud", "click");
    say(1, "info", 7);
    expect(logs()).toMatchObject({ lines: [] });
    expect(bench.status.jobs?.dropped).toMatchObject({ logOfNoJob: 3 });
  });

  test("is bounded, for one job and for all", () => {
    const first = detach("a", "photo");
    for (let line = 0; line < 200; line++) say(1, "info", "x".repeat(1000));
    const { lines } = logs() as { lines: unknown[] };
    expect(lines.length).toBeLessThan(140);
    for (let job = 2; job < 60; job++) {
      bench.done("w1", job - 1);
      detach(`s${job}`, "photo");
      for (let line = 0; line < 131; line++) say(job, "info", "x".repeat(1000));
    }
    expect(logs({ job: first })).toMatchObject({ lines: [] });
  });
});

describe("the list of jobs", () => {
  const list = (options: object = {}): unknown[] => {
    bench.control({ command: "jobs", ...options });
    const reply = bench.answers.at(-1)?.reply;
    return reply?.kind === "ack" ? (reply.data as { jobs: unknown[] }).jobs : [reply];
  };

  test("has the newest first, attached ones too, by task, state and age, in pages", () => {
    bench.ask("a", "photo");
    bench.done("w1", 1);
    bench.ask("b", "drive");
    bench.fail("w1", 2);
    detach("c", "photo");
    expect(list().map((job) => (job as { serial: string }).serial)).toEqual(["c", "b", "a"]);
    expect(list({ task: "drive" })).toMatchObject([{ state: "failed", code: "TASK_ERROR", message: "it failed" }]);
    expect(list({ states: ["done"] })).toMatchObject([{ serial: "a", args: null }]);
    bench.passWith(["w1"], 10_000);
    expect(list({ sinceMs: 5000 })).toMatchObject([{ serial: "c", state: "running" }]);
    bench.control({ command: "jobs", limit: 2 });
    const reply = bench.answers.at(-1)?.reply;
    const next = reply?.kind === "ack" ? (reply.data as { next: string }).next : "";
    expect(list({ before: next })).toMatchObject([{ serial: "a" }]);
  });
});

test("in an engine with keys one's own jobs need no right, and those of others do", () => {
  bench.authorize("laptop send", "phone send", "page observe");
  for (const [who, user] of [
    ["requestor", "laptop"],
    ["phone", "phone"],
    ["page", "page"],
  ] as const)
    bench.users.set(who, user);
  bench.users.set("w1", "(engine)");
  bench.ready("w1", [{ name: "photo", moves: false }]);
  const id = detach("a", "photo");
  bench.control({ command: "result", job: id }, "requestor");
  expect(lastReply()).toMatchObject({ job: id });
  bench.control({ command: "job", job: id }, "phone");
  expect(lastReply()).toBe("UNAUTHORIZED: client phone lacks the right observe");
  bench.control({ command: "job", job: id }, "page");
  expect(lastReply()).toMatchObject({ kind: "ack" });
  bench.control({ command: "cancel", job: id }, "page");
  expect(lastReply()).toBe("UNAUTHORIZED: client page lacks the right control");
  bench.authorize("page observe");
  expect(bench.abortsOf("w1")).toEqual(["1: UNAUTHORIZED"]);
});
