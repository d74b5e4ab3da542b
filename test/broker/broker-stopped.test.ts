import { beforeEach, describe, expect, test } from "bun:test";
import { resetsMax } from "../../src/limits.ts";
import { BrokerBench } from "../support/broker-bench.ts";

const battery = { name: "battery", allowedWhenStopped: true };

let bench: BrokerBench;
beforeEach(() => {
  bench = new BrokerBench();
});

describe("in emergency stop", () => {
  test("what is allowed runs on, begins and is asked for; a batch with other tasks is refused whole", () => {
    bench.ready("w1", [battery, "spin"]);
    bench.ask("runs", "battery");
    bench.ask("waits", "battery");
    bench.estop();
    bench.ask("new", "battery");
    bench.batch("mixed", ["battery", "spin"]);
    for (const id of [1, 2, 3]) bench.done("w1", id);
    expect(bench.ends).toEqual(["estop: ACK", "mixed: STOPPED", "runs: ACK", "waits: ACK", "new: ACK"]);
    expect(bench.abortsOf("w1")).toEqual([]);
  });

  test("what is allowed keeps its own limits", () => {
    bench.ready("w1", [{ ...battery, timeoutMs: 50, graceMs: 5000 }]);
    bench.ask("a", "battery");
    bench.estop();
    bench.pass(50 + 4999);
    expect(bench.kills).toEqual([]);
    bench.pass(1);
    expect(bench.kills).toEqual([1]);
  });

  test("data goes on", () => {
    bench.dataWorker("d9");
    bench.ready("w1", [battery]);
    bench.put("before", "volts", 1);
    bench.estop();
    bench.put("after", "volts", 2);
    bench.control({ command: "get", topic: "volts" });
    bench.say("w1", { type: "PUBLISH", topic: "volts" }, [Buffer.from('{"data":3,"pack":1}')]);
    for (let id = 1; id <= 4; id++) bench.done("d9", id);
    expect(bench.ends).toEqual(["estop: ACK", "before: ACK", "after: ACK", "get: ACK"]);
    expect(bench.jobsOf("d9")).toEqual([1, 2, 3, 4]);
  });

  test("a reset waits for the supervisor's word; then jobs begin", () => {
    bench.ready("w1", ["spin"]);
    bench.estop();
    bench.control({ command: "reset" });
    bench.ask("too early", "spin");
    expect(bench.ends).toEqual(["estop: ACK", "too early: STOPPED"]);
    expect(bench.wishes).toEqual(["estop", "reset"]);
    bench.resume();
    expect(bench.ends.at(-1)).toBe("reset: ACK");
    expect(bench.answers.at(-1)?.reply).toMatchObject({ data: { stopped: null } });
    expect(bench.status.stopped).toBeNull();
    bench.ask("a", "spin");
    expect(bench.jobsOf("w1")).toEqual([1]);
  });

  test("a reset that the supervisor cannot carry out is answered STOPPED, and the stop stays", () => {
    bench.control({ command: "estop", reason: "" });
    bench.control({ command: "reset" });
    bench.handle({ type: "resetRefused", request: bench.lastRequest, why: "its file cannot be removed" });
    expect(bench.ends).toEqual(["estop: ACK", "reset: STOPPED"]);
    expect(bench.answers.at(-1)?.reply).toMatchObject({ error: { message: "its file cannot be removed" } });
    expect(bench.status.stopped).toMatchObject({ reason: "" });
  });

  test("so many can wait for the reset, and all of them are answered once", () => {
    bench.estop();
    for (let count = 0; count <= resetsMax; count++) bench.control({ command: "reset" }, `operator${count}`);
    expect(bench.ends).toEqual(["estop: ACK", "reset: QUEUE_FULL"]);
    bench.resume();
    bench.resume();
    expect(bench.ends.filter((end) => end === "reset: ACK")).toHaveLength(resetsMax);
  });

  test("a reset that a newer emergency stop overtakes is void: its word comes too late", () => {
    bench.ready("w1", ["spin"]);
    bench.estop("smoke");
    bench.control({ command: "reset" });
    bench.estop("fire");
    expect(bench.ends).toEqual(["estop: ACK", "reset: STOPPED", "estop: ACK"]);
    bench.resume();
    bench.ask("a", "spin");
    expect(bench.ends.at(-1)).toBe("a: STOPPED");
    bench.control({ command: "reset" });
    bench.resume();
    expect(bench.ends.at(-1)).toBe("reset: ACK");
    bench.ask("b", "spin");
    expect(bench.jobsOf("w1")).toEqual([1]);
  });

  test("a refusal is for the reset that it names, not for one that has come since", () => {
    bench.estop();
    bench.control({ command: "reset" }, "first");
    const first = bench.lastRequest;
    bench.estop();
    bench.control({ command: "reset" }, "second");
    bench.handle({ type: "resetRefused", request: first, why: "an emergency stop was asked for after this reset" });
    expect(bench.ends).toEqual(["estop: ACK", "reset: STOPPED", "estop: ACK"]);
    bench.resume();
    expect(bench.ends.at(-1)).toBe("reset: ACK");
  });

  test("a reset that its requestor gives up, or whose requestor is gone, does not end it", () => {
    const giveUps = [() => bench.cancel("reset", "operator"), () => bench.lose("operator")];
    for (const giveUp of giveUps) {
      bench.estop();
      bench.control({ command: "reset" });
      bench.wishes.length = 0;
      giveUp();
      expect(bench.wishes).toEqual(["withdrawReset"]);
      // The supervisor has just ended it: it hears in the same moment that it has to hold again.
      bench.resume();
      expect(bench.status.stopped).not.toBeNull();
      bench.reset();
      expect(bench.status.stopped).toBeNull();
    }
    expect(bench.ends).toEqual(["estop: ACK", "reset: CANCELLED", "reset: ACK", "estop: ACK", "reset: ACK"]);
  });

  test("a reset that one gives up and another does not goes on, and nobody can give up another's", () => {
    bench.estop();
    bench.control({ command: "reset" }, "one");
    bench.control({ command: "reset" }, "other");
    bench.cancel("reset", "stranger");
    bench.cancel("reset", "one");
    bench.lose("nobody");
    expect(bench.wishes).toEqual(["estop", "reset", "reset"]);
    bench.resume();
    expect(bench.ends).toEqual(["estop: ACK", "reset: UNKNOWN_SERIAL", "reset: CANCELLED", "reset: ACK"]);
    expect(bench.status.stopped).toBeNull();
  });

  test("an engine that stops ends it no more", () => {
    bench.estop();
    bench.control({ command: "reset" });
    bench.handle({ type: "drain" });
    bench.control({ command: "reset" });
    expect(bench.ends).toEqual(["estop: ACK", "reset: SHUTTING_DOWN", "reset: SHUTTING_DOWN"]);
    expect(bench.wishes).toEqual(["estop", "reset", "withdrawReset", "drained"]);
  });

  test("a word that it is over, which nobody has asked for since, is of before", () => {
    bench.estop();
    bench.resume();
    expect(bench.status.stopped).not.toBeNull();
    bench.handle({ type: "stopped", stopped: { reason: "", since: 1 } });
    bench.resume();
    expect(bench.status.stopped).toBeNull();
  });

  test("a reset that the supervisor was asked for before this router was there counts", () => {
    bench.handle({ type: "stopped", stopped: { reason: "", since: 1 } });
    bench.resume();
    expect(bench.status.stopped).toBeNull();
  });

  test("the jobs of a router that is told of it before the tasks are refused", () => {
    bench.handle({ type: "stopped", stopped: { reason: "", since: 1 } });
    bench.handle({ type: "tasks", tasks: [{ name: "spin" }] });
    bench.ask("a", "spin");
    expect(bench.ends).toEqual(["a: STOPPED"]);
  });
});

describe("with keys", () => {
  beforeEach(() => {
    bench.users.set("driver", "driver").set("reader", "reader").set("boss", "boss");
    bench.authorize("driver send:drive", "reader read", "boss control");
  });

  test("who may move anything may stop everything, and so may who controls; others may not", () => {
    bench.estop("", "reader");
    expect(bench.ends).toEqual(["estop: UNAUTHORIZED"]);
    expect(bench.wishes).toEqual([]);
    bench.estop("", "driver");
    bench.estop("", "boss");
    expect(bench.ends.slice(1)).toEqual(["estop: ACK", "estop: ACK"]);
    expect(bench.logs.filter((line) => line.startsWith("EMERGENCY STOP by driver"))).toHaveLength(1);
  });

  test("only who controls may end it", () => {
    bench.estop("", "boss");
    bench.control({ command: "reset" }, "driver");
    bench.control({ command: "reset" }, "boss");
    expect(bench.ends).toEqual(["estop: ACK", "reset: UNAUTHORIZED"]);
    expect(bench.wishes).toEqual(["estop", "reset"]);
  });
});
