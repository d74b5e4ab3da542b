/** Tasks that the supervisor has closed, since their jobs kill their workers. */
import { beforeEach, expect, test } from "bun:test";
import { nothing } from "../support/broker-bench.ts";
import { SafetyBench, tasks } from "../support/safety-bench.ts";

let bench: SafetyBench;
beforeEach(() => {
  bench = new SafetyBench();
});

const close = (...names: string[]): void =>
  bench.handle({
    type: "quarantined",
    tasks: names.map((task) => ({ task, since: 1_700_000_000, deaths: 3, how: "ended by SIGSEGV" })),
  });

const message =
  "drive is quarantined since 2023-11-14T22:13:20.000Z: 3 workers died of its jobs within 60 s, " +
  "the last of which ended by SIGSEGV; fix it, then run task-engine reload";

test("what waits of a closed task and what comes ends as UNAVAILABLE with the reason, and all other tasks go on", () => {
  bench.ready("w1", tasks);
  bench.ask("runs", "drive");
  bench.ask("waits", "drive");
  bench.ask("other", "count");
  close("drive");
  expect(bench.ends).toEqual(["waits: UNAVAILABLE"]);
  bench.ask("new", "drive");
  bench.batch("batch", ["count", "drive"]);
  bench.askOld("task_drive");
  for (const { reply } of bench.answers) expect(reply).toMatchObject({ error: { code: "UNAVAILABLE", message } });
  expect(bench.answers).toHaveLength(4);
  bench.done("w1", 1);
  bench.done("w1", 3);
  expect(bench.ends.slice(4)).toEqual(["runs: ACK", "other: ACK"]);
  expect(bench.leftovers).toEqual(nothing);
});

test("what comes back unbegun from a worker that died of it does not begin elsewhere", () => {
  bench.ready("w1", ["count"]);
  bench.learn("w1", "count");
  bench.ask("a", "count");
  bench.ask("b", "count");
  expect(bench.jobsOf("w1")).toEqual([2, 3]);
  close("count");
  bench.ready("w2", ["count"]);
  bench.die("w1", 2);
  expect(bench.ends).toEqual(["a: INTERRUPTED", "b: UNAVAILABLE"]);
  expect(bench.jobsOf("w2")).toEqual([]);
});

test("an idempotent job is not tried again, and one that has killed three workers is still POISONOUS", () => {
  const again = { name: "blink", idempotent: { tries: 5, backoffMs: 10 } };
  const dieOf = (key: string): void => {
    bench.ready(key, [again]);
    bench.die(key, bench.jobsOf(key).at(-1) ?? 0);
  };
  bench.handle({ type: "tasks", tasks: [again] });
  bench.ready("w0", [again]);
  bench.ask("a", "blink");
  bench.die("w0", 1);
  bench.pass(10);
  dieOf("w1");
  bench.ask("b", "blink");
  close("blink");
  expect(bench.ends).toEqual(["a: UNAVAILABLE", "b: UNAVAILABLE"]);
  close();
  bench.ask("c", "blink");
  for (const key of ["w2", "w3"]) {
    dieOf(key);
    bench.pass(20);
  }
  bench.ready("w4", [again]);
  close("blink");
  bench.die("w4", bench.jobsOf("w4").at(-1) ?? 0);
  expect(bench.ends.at(-1)).toBe("c: POISONOUS");
});

test("its safe stop runs all the same", () => {
  bench.ready("w1", tasks);
  bench.ready("w2", tasks);
  bench.ask("a", "drive");
  close("drive");
  bench.die("w1", 1);
  expect(bench.safesOf("w2")).toEqual(["drive"]);
  bench.made("w2", "safe");
  expect(bench.leftovers).toEqual(nothing);
});

test("what the supervisor says of processes that cannot start is shown in status, and stops nothing", () => {
  bench.ready("w1", tasks);
  const troubles = [{ process: "gateway", since: 1_700_000_000, why: "cannot start: 8080 is in use" }];
  bench.handle({ type: "troubles", troubles });
  bench.ask("a", "count");
  expect(bench.jobsOf("w1")).toEqual([1]);
  expect<unknown>(bench.status.troubles).toEqual(troubles);
});

test("it is shown in status, and open again once the supervisor says so, after an emergency stop that is reset not before", () => {
  bench.ready("w1", tasks);
  close("drive");
  expect<unknown>(bench.status.quarantined).toEqual([
    { task: "drive", since: 1_700_000_000, deaths: 3, how: "ended by SIGSEGV" },
  ]);
  bench.estop();
  bench.reset();
  bench.ask("a", "drive");
  close();
  bench.ask("b", "drive");
  expect(bench.jobsOf("w1")).toEqual([1]);
  expect(bench.ends.slice(2)).toEqual(["a: UNAVAILABLE"]);
  expect<unknown>(bench.status.quarantined).toEqual([]);
});
