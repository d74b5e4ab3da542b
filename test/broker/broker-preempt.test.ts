import { beforeEach, describe, expect, test } from "bun:test";
import { abortGraceMs } from "../../src/limits.ts";
import { BrokerBench, nothing } from "../support/broker-bench.ts";

const roam = { name: "roam", resources: ["motors"], preemptible: true };
const wave = { name: "wave", resources: ["arm"], preemptible: true };
const dock = { name: "dock", resources: ["motors"] };
const carry = { name: "carry", resources: ["motors", "arm"] };
const flee = { name: "flee", resources: ["motors"], preemptible: true };
const tasks = [roam, wave, dock, carry, flee];

let bench: BrokerBench;
beforeEach(() => {
  bench = new BrokerBench();
  for (let pid = 1; pid <= 4; pid++) bench.ready(`w${pid}`, tasks);
});

const urgent = { priority: 9, preempt: true } as const;
const aborts = (): string[] =>
  bench.toWorkers.flatMap(({ header }) => (header.type === "ABORT" ? [`${header.job}: ${header.code}`] : []));
const begun = (): number[] => bench.toWorkers.flatMap(({ header }) => (header.type === "JOBS" ? header.jobs : []));
const holderOf = (id: number): string =>
  bench.toWorkers.filter(({ header }) => header.type === "JOBS" && header.jobs.includes(id)).at(-1)?.key ?? "none";

describe("preempt", () => {
  test("takes from a job of lower priority, which is told to end and killed if it does not", () => {
    bench.ask("a", "roam");
    bench.ask("b", "dock", urgent);
    expect(aborts()).toEqual(["1: PREEMPTED"]);
    expect(begun()).toEqual([1]);
    bench.pass(abortGraceMs);
    expect(bench.kills).toEqual([1]);
    bench.die("w1", 1);
    expect(bench.ends).toEqual(["a: PREEMPTED"]);
    expect(begun()).toEqual([1, 2]);
    bench.done(holderOf(2), 2);
    expect(bench.leftovers).toEqual(nothing);
  });

  test("takes nothing from a job of its own or of higher priority", () => {
    bench.ask("a", "roam", { priority: 9 });
    bench.ask("b", "dock", urgent);
    expect(aborts()).toEqual([]);
    bench.done("w1", 1);
    expect(begun()).toEqual([1, 2]);
  });

  test("takes nothing where the holder's task does not allow it", () => {
    bench.ask("a", "dock");
    bench.ask("b", "roam", urgent);
    expect(aborts()).toEqual([]);
  });

  test("takes nothing where it is not asked for", () => {
    bench.ask("a", "roam");
    bench.ask("b", "dock", { priority: 9 });
    expect(aborts()).toEqual([]);
  });

  test("takes from all holders, or from none", () => {
    bench.ask("a", "roam");
    bench.ask("b", "wave");
    bench.ask("c", "carry", urgent);
    expect(aborts().sort()).toEqual(["1: PREEMPTED", "2: PREEMPTED"]);
    bench.done("w1", 1);
    expect(begun()).toEqual([1, 2]);
    bench.done("w2", 2);
    expect(begun()).toEqual([1, 2, 3]);
  });

  test("takes from none where one of them cannot be had", () => {
    bench.ask("a", "dock");
    bench.ask("b", "wave");
    bench.ask("c", "carry", urgent);
    expect(aborts()).toEqual([]);
  });

  test("goes before those that have waited for the same for long", () => {
    bench.ask("a", "roam");
    bench.ask("old", "dock", { priority: 8 });
    bench.pass(60_000);
    bench.ask("b", "carry", urgent);
    bench.done("w1", 1);
    expect(begun()).toEqual([1, 3]);
    expect(bench.ends).toEqual(["a: PREEMPTED"]);
  });

  test("goes by priority among those that ask for it", () => {
    bench.ask("holder", "dock", { priority: 9 });
    bench.ask("a", "dock", { priority: 6, preempt: true });
    bench.ask("b", "flee", { priority: 8, preempt: true });
    bench.done("w1", 1);
    expect(begun()).toEqual([1, 3]);
  });

  test("that comes with the start of the holder is told to the worker after the start", () => {
    bench.ask("holder", "dock", { priority: 9 });
    bench.ask("a", "flee", { priority: 7, preempt: true });
    bench.pass(60_000);
    bench.ask("b", "dock", { priority: 8, preempt: true });
    bench.done("w1", 1);
    const worker = holderOf(2);
    expect(
      bench
        .headersOf(worker)
        .slice(-2)
        .map(({ type }) => type),
    ).toEqual(["JOBS", "ABORT"]);
  });

  test("takes nothing for a job that nobody can run", () => {
    bench.handle({ type: "tasks", tasks: [{ name: "fly", resources: ["motors"] }] });
    bench.ask("a", "roam");
    bench.ask("b", "fly", urgent);
    expect(aborts()).toEqual([]);
  });

  test("takes from a holder that its worker has not begun yet", () => {
    bench.ask("a", "roam");
    bench.ask("b", "dock", urgent);
    bench.say("w1", { type: "RETURN", jobs: [1] });
    expect(bench.ends).toEqual(["a: PREEMPTED"]);
    expect(begun()).toEqual([1, 2]);
  });

  test("does not have the holder tried again", () => {
    bench = new BrokerBench();
    for (const key of ["w1", "w2"]) bench.ready(key, [{ ...roam, idempotent: { onError: true } }, dock]);
    bench.ask("a", "roam");
    bench.ask("b", "dock", urgent);
    bench.fail("w1", 1);
    bench.pass(10_000);
    expect(bench.ends).toEqual(["a: PREEMPTED"]);
    expect(begun()).toEqual([1, 2]);
  });

  test("lets the holder be made safe first: in its worker, or elsewhere where that fails", () => {
    bench = new BrokerBench();
    for (const key of ["w1", "w2"]) bench.ready(key, [{ ...roam, onStop: true }, dock]);
    bench.ask("a", "roam");
    bench.ask("b", "dock", urgent);
    bench.say("w1", { type: "SAFING", job: 1 });
    expect(begun()).toEqual([1]);
    bench.failUnsafe("w1", 1);
    expect(bench.ends).toEqual(["a: PREEMPTED"]);
    expect(begun()).toEqual([1]);
    expect(bench.safings).toEqual(["roam running 0 PREEMPTED"]);
    bench.made("w1", "safe");
    expect(begun()).toEqual([1, 2]);
    bench.done(holderOf(2), 2);
    expect(bench.leftovers).toEqual(nothing);
  });

  test("of a task without resources changes nothing", () => {
    bench.ready("w9", ["count"]);
    bench.ask("a", "count");
    bench.ask("b", "count", { priority: 6 });
    bench.ask("c", "count", urgent);
    bench.ask("d", "count", { priority: 5, preempt: true });
    for (const id of [1, 3, 2, 4]) bench.done("w9", id);
    expect(bench.jobsOf("w9")).toEqual([1, 3, 2, 4]);
  });
});
