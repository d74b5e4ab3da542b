import { beforeEach, describe, expect, test } from "bun:test";
import { abortGraceMs, beatSilenceMs, retryBackoffMs, verdictMs } from "../../src/limits.ts";
import { engineUser } from "../../src/security/access.ts";
import { BrokerBench, nothing } from "../support/broker-bench.ts";

const drive = { name: "drive", resources: ["motors"] };
const push = { name: "push", resources: ["motors"] };
const grip = { name: "grip", resources: ["arm"] };
const carry = { name: "carry", resources: ["motors", "arm"] };
const tasks = [drive, grip, carry, "count"];

let bench: BrokerBench;
beforeEach(() => {
  bench = new BrokerBench();
});

/** Five workers, so that nothing waits for one. */
const readyAll = (served: Parameters<BrokerBench["ready"]>[1] = tasks): void => {
  for (let pid = 1; pid <= 5; pid++) bench.ready(`w${pid}`, served);
};

/** The workers' jobs that have been handed over, in that order. */
const begun = (): number[] => bench.toWorkers.flatMap(({ header }) => (header.type === "JOBS" ? header.jobs : []));
const holderOf = (id: number): string =>
  bench.toWorkers.find(({ header }) => header.type === "JOBS" && header.jobs.includes(id))?.key ?? "none";
const done = (id: number): void => bench.done(holderOf(id), id);

describe("a resource", () => {
  test("is held by one job at a time, first come first served within a priority, and shown", () => {
    readyAll();
    for (const serial of ["a", "b", "c"]) bench.ask(serial, "drive");
    bench.ask("urgent", "drive", { priority: 6 });
    expect(begun()).toEqual([1]);
    expect(bench.resources).toEqual(["motors: drive held +3"]);
    expect(bench.status.resources).toMatchObject([{ holder: { task: "drive", serial: "a", state: "held" } }]);
    for (const id of [1, 4, 2, 3]) done(id);
    expect(begun()).toEqual([1, 4, 2, 3]);
    expect(bench.leftovers).toEqual(nothing);
  });

  test("is needed by what waits, too, once the task files that say so have been read anew", () => {
    bench.handle({ type: "tasks", tasks: [{ name: "drive" }, { name: "push" }] });
    for (const serial of ["a", "b"]) bench.ask(serial, "drive");
    bench.ask("c", "push");
    bench.handle({ type: "tasks", tasks: [drive, push] });
    readyAll([drive, push]);
    expect(begun()).toEqual([1]);
    for (const id of [1, 2, 3]) done(id);
    expect(begun()).toEqual([1, 2, 3]);
    expect(bench.leftovers).toEqual(nothing);
  });

  test("is taken with all others that a job needs, or none is", () => {
    readyAll();
    bench.ask("a", "drive");
    bench.ask("b", "carry");
    expect(begun()).toEqual([1]);
    expect(bench.resources).toEqual(["arm: free +1", "motors: drive held +1"]);
    done(1);
    expect(bench.resources).toEqual(["arm: carry held", "motors: carry held"]);
  });

  test("holds up nobody who needs another, or none", () => {
    readyAll();
    bench.ask("a", "drive");
    bench.ask("b", "drive");
    bench.ask("c", "grip");
    bench.ask("d", "count");
    expect(begun()).toEqual([1, 3, 4]);
  });

  test("goes to who needs two of them before those that came later and need one each, however many come", () => {
    readyAll();
    bench.ask("a", "drive");
    bench.ask("b", "grip");
    bench.ask("both", "carry");
    for (let count = 0; count < 10; count++) bench.ask(`one${count}`, count % 2 === 0 ? "drive" : "grip");
    done(1);
    expect(begun()).toEqual([1, 2]);
    done(2);
    expect(begun()).toEqual([1, 2, 3]);
    done(3);
    expect(begun().slice(3).sort()).toEqual([4, 5]);
  });

  test("is not kept for a job that waits for a worker which is not there", () => {
    bench.handle({ type: "tasks", tasks: [carry] });
    bench.ready("w1", [drive]);
    bench.ask("a", "carry");
    bench.ask("b", "drive");
    expect(bench.jobsOf("w1")).toEqual([2]);
  });

  test("is kept for a job that waits for a worker which is busy", () => {
    bench.ready("w1", [carry, "count"]);
    bench.ready("w2", [drive]);
    bench.ask("busy", "count");
    bench.ask("a", "carry");
    bench.ask("b", "drive");
    expect(begun()).toEqual([1]);
    done(1);
    expect(begun()).toEqual([1, 2]);
  });

  test("listed twice is one", () => {
    readyAll([{ name: "drive", resources: ["motors", "motors"] }]);
    bench.ask("a", "drive");
    bench.ask("b", "drive");
    done(1);
    done(2);
    expect(bench.leftovers).toEqual(nothing);
  });

  test("is free again however its holder ends", () => {
    readyAll();
    bench.ask("failed", "drive");
    bench.fail("w1", 1);
    bench.ask("cancelled", "drive");
    bench.cancel("cancelled");
    bench.fail(holderOf(2), 2);
    bench.ask("late", "drive", { timeoutMs: 10 });
    bench.pass(10);
    bench.done(holderOf(3), 3);
    bench.ask("expired", "drive", { ttlMs: 10 });
    bench.fail(holderOf(4), 4, "EXPIRED");
    expect(bench.ends).toEqual(["failed: TASK_ERROR", "cancelled: CANCELLED", "late: TIMEOUT", "expired: EXPIRED"]);
    expect(bench.leftovers).toEqual(nothing);
  });

  test("is held until its holder has let go, though that was told to end", () => {
    readyAll();
    bench.ask("a", "drive");
    bench.ask("b", "drive");
    bench.cancel("a");
    expect(begun()).toEqual([1]);
    done(1);
    expect(begun()).toEqual([1, 2]);
  });

  test("is free when its holder is given back, and that has its place again", () => {
    bench.handle({ type: "tasks", tasks: [drive] });
    bench.ready("w1", tasks);
    bench.ask("a", "drive");
    bench.ask("b", "drive");
    bench.say("w1", { type: "LEAVE" });
    bench.say("w1", { type: "RETURN", jobs: [1] });
    expect(bench.resources).toEqual(["motors: free +2"]);
    bench.ready("w2", tasks);
    expect(bench.jobsOf("w2")).toEqual([1]);
  });

  test("is free at the death of its holder's worker, known to have begun it or not", () => {
    for (const begunLast of [1, 0]) {
      bench = new BrokerBench();
      bench.handle({ type: "tasks", tasks: [drive] });
      bench.ready("w1", tasks);
      bench.ask("a", "drive");
      bench.die("w1", begunLast);
      expect(bench.ends).toEqual(begunLast === 1 ? ["a: INTERRUPTED"] : []);
      expect(bench.resources).toEqual(begunLast === 1 ? [] : ["motors: free +1"]);
    }
  });

  test("is held while the end of its holder's worker is not certain", () => {
    bench.ready("w1", tasks);
    bench.ready("w2", tasks);
    bench.ask("a", "drive");
    bench.handle({ type: "disconnected", key: "w1" });
    bench.ask("b", "drive");
    expect(begun()).toEqual([1]);
    bench.pass(verdictMs);
    expect(bench.kills).toEqual([1]);
    expect(begun()).toEqual([1]);
    bench.handle({ type: "gone", pid: 1, begun: 1 });
    expect(begun()).toEqual([1, 2]);
  });

  test("is not held by a job that waits for its next try", () => {
    readyAll([{ ...drive, idempotent: { tries: 3, backoffMs: 1000, onError: true } }]);
    bench.ask("a", "drive");
    bench.ask("b", "drive");
    bench.fail("w1", 1);
    expect(begun()).toEqual([1, 2]);
    bench.pass(1000);
    expect(begun()).toEqual([1, 2]);
    done(2);
    expect(begun()).toEqual([1, 2, 1]);
    bench.done(bench.toWorkers.at(-1)?.key ?? "", 1);
    expect(bench.leftovers).toEqual(nothing);
  });
});

describe("of a worker that nobody can kill, a resource", () => {
  beforeEach(() => {
    bench.ready("f1", [{ ...drive, graceMs: 2000 }], { supervised: false });
    bench.ready("w2", [push]);
    bench.ask("a", "drive");
    bench.ask("b", "push");
    bench.say("f1", { type: "BEAT" });
  });

  test("is held after its loss until it has noticed it and let go", () => {
    bench.handle({ type: "disconnected", key: "f1" });
    expect(bench.ends).toEqual(["a: INTERRUPTED"]);
    bench.passWith(["w2"], beatSilenceMs + 1999);
    expect(bench.jobsOf("w2")).toEqual([]);
    expect(bench.resources).toEqual(["motors: drive held +1"]);
    bench.pass(1);
    expect(bench.jobsOf("w2")).toEqual([2]);
    bench.done("w2", 2);
    expect(bench.leftovers).toEqual(nothing);
  });

  test("is held by a job that does not let go until it does", () => {
    bench.cancel("a");
    bench.pass(2000);
    expect(bench.ends).toEqual(["a: CANCELLED"]);
    bench.passWith(["f1", "w2"], 10 * beatSilenceMs);
    expect(bench.jobsOf("w2")).toEqual([]);
    bench.done("f1", 1);
    expect(bench.jobsOf("w2")).toEqual([2]);
  });

  test("is held so, though it is silent, since it does not let go", () => {
    bench.cancel("a");
    bench.passWith(["w2"], 10 * beatSilenceMs);
    expect(bench.jobsOf("w2")).toEqual([]);
    bench.handle({ type: "disconnected", key: "f1" });
    bench.passWith(["w2"], beatSilenceMs + 2000);
    expect(bench.jobsOf("w2")).toEqual([2]);
  });

  test("is free when it gives that job back after all", () => {
    bench.cancel("a");
    bench.pass(2000);
    bench.say("f1", { type: "RETURN", jobs: [1] });
    expect(bench.jobsOf("w2")).toEqual([2]);
    expect(bench.status.workers).toMatchObject([{ state: "idle" }, { state: "busy" }]);
  });

  test("is held so, though it wants to leave", () => {
    bench.cancel("a");
    bench.pass(2000);
    bench.say("f1", { type: "LEAVE" });
    expect(bench.headersOf("f1").map(({ type }) => type)).not.toContain("GOODBYE");
    bench.done("f1", 1);
    expect(bench.headersOf("f1").at(-1)?.type).toBe("GOODBYE");
    expect(bench.jobsOf("w2")).toEqual([2]);
    bench.done("w2", 2);
    expect(bench.leftovers).toEqual(nothing);
  });
});

test("a job that may run twice waits for what a foreign worker, now lost, holds for its sake", () => {
  bench.ready("f1", [{ ...drive, idempotent: true }], { supervised: false });
  bench.ready("w2", [{ ...drive, idempotent: true }]);
  bench.ask("a", "drive");
  bench.handle({ type: "disconnected", key: "f1" });
  bench.passWith(["w2"], beatSilenceMs + abortGraceMs - 1);
  expect(bench.jobsOf("w2")).toEqual([]);
  bench.pass(1);
  expect(bench.jobsOf("w2")).toEqual([1]);
  bench.done("w2", 1);
  expect(bench.ends).toEqual(["a: ACK"]);
  expect(bench.leftovers).toEqual(nothing);
});

describe("a job that is tried again by another policy than that of the run which its lost worker may go on with", () => {
  const grip = { name: "grip", resources: ["arm"] };
  const old = [{ ...drive, idempotent: true }];
  const changed = [{ name: "drive", resources: ["arm"], idempotent: true }];

  test("leaves to that run what it took, and holds what it takes itself", () => {
    bench.ready("f1", old, { supervised: false });
    bench.ready("w2", [push, grip]);
    bench.ask("a", "drive");
    bench.handle({ type: "disconnected", key: "f1" });
    bench.ready("f3", changed, { supervised: false });
    bench.passWith(["f3", "w2"], retryBackoffMs);
    expect(bench.jobsOf("f3")).toEqual([1]);
    expect(bench.resources).toEqual(["arm: drive held", "motors: drive held"]);
    bench.ask("b", "push");
    bench.ask("c", "grip");
    bench.passWith(["f3", "w2"], beatSilenceMs + abortGraceMs);
    expect(bench.resources).toEqual(["arm: drive held +1", "motors: push held"]);
    bench.done("f3", 1);
    bench.done("w2", 2);
    bench.done("w2", 3);
    expect(bench.ends).toEqual(["a: ACK", "b: ACK", "c: ACK"]);
    expect(bench.leftovers).toEqual(nothing);
  });

  test("frees nothing of that run when it ends before", () => {
    bench.ready("f1", old, { supervised: false });
    bench.ask("a", "drive");
    bench.handle({ type: "disconnected", key: "f1" });
    bench.ready("f3", changed, { supervised: false });
    bench.passWith(["f3"], retryBackoffMs);
    bench.done("f3", 1);
    expect(bench.ends).toEqual(["a: ACK"]);
    expect(bench.resources).toEqual(["motors: drive held"]);
    bench.passWith(["f3"], beatSilenceMs + abortGraceMs);
    expect(bench.leftovers).toEqual(nothing);
  });

  test("frees all of that run at a reset, if the worker had lost its rights", () => {
    bench.handle({ type: "tasks", tasks: old });
    bench.users.set("f1", "robot");
    bench.users.set("w2", engineUser);
    bench.users.set("requestor", "laptop");
    bench.users.set("operator", "laptop");
    bench.authorize("robot worker:drive", "laptop send control");
    bench.ready("f1", old, { supervised: false });
    bench.ask("a", "drive");
    bench.authorize("laptop send control");
    bench.handle({ type: "tasks", tasks: changed });
    bench.ready("w2", changed);
    bench.pass(retryBackoffMs);
    bench.done("w2", 1);
    expect(bench.ends).toEqual(["a: ACK"]);
    expect(bench.resources).toEqual(["motors: drive unsafe"]);
    bench.reset();
    expect(bench.leftovers).toEqual(nothing);
  });
});
