import { beforeEach, describe, expect, test } from "bun:test";
import {
  abortGraceMs,
  clearingJobsMax,
  onStopMs,
  stopAnswerMs,
  stopAnswersMax,
  stopGraceMs,
  verdictMs,
} from "../../src/limits.ts";
import { BrokerBench, nothing } from "../support/broker-bench.ts";

const drive = { name: "drive", onStop: true, resources: ["motors"] };
const battery = { name: "battery", allowedWhenStopped: true };

let bench: BrokerBench;
beforeEach(() => {
  bench = new BrokerBench();
});

/** The last answer's error. */
const lastError = (): { code: string; message: string } => {
  const reply = bench.answers.at(-1)?.reply;
  if (reply?.kind !== "error") throw new Error("the last answer is no error");
  return reply.error;
};

describe("an emergency stop", () => {
  test("ends what waits at once and what runs by its abort signal, and kills what does not let go", () => {
    bench.ready("w1", ["spin"]);
    bench.ask("runs", "spin");
    bench.ask("waits", "spin");
    bench.estop("smoke");
    expect(bench.abortsOf("w1")).toEqual(["1: STOPPED"]);
    expect(bench.ends).toEqual(["estop: ACK", "waits: STOPPED"]);
    bench.pass(stopGraceMs - 1);
    expect(bench.kills).toEqual([]);
    bench.pass(1);
    expect(bench.kills).toEqual([1]);
    bench.die("w1", 1);
    expect(bench.ends.at(-1)).toBe("runs: STOPPED");
    expect(bench.leftovers).toEqual(nothing);
  });

  test("tells running jobs before it does anything else", () => {
    bench.ready("w1", ["spin"]);
    bench.ask("runs", "spin");
    bench.ask("waits", "spin");
    const request = { kind: "control", control: { command: "estop", reason: "" } } as const;
    const meta = { id: "o", role: "requestor", version: 0.2, type: "CONTROL", pack: 1, serial: "s" } as const;
    const event = {
      type: "request",
      requestor: { peer: "o", envelope: [] },
      user: null,
      request: { ...request, meta },
    } as const;
    const [first] = bench.broker.handle(event, bench.now);
    expect(first).toMatchObject({ to: "worker", header: { type: "ABORT", code: "STOPPED" } });
  });

  test("is answered with its reason and its time, and the supervisor told", () => {
    const before = Date.now() / 1000 - 1;
    bench.estop("smoke");
    expect(bench.wishes).toEqual(["estop"]);
    const reply = bench.answers.at(-1)?.reply;
    expect(reply).toMatchObject({ kind: "ack", data: { stopped: { reason: "smoke" }, durable: true } });
    expect(bench.status.stopped).toMatchObject({ reason: "smoke" });
    expect(Number(bench.status.stopped?.since)).toBeGreaterThan(before);
  });

  test("is on the disk, says status, by the supervisor's last word; until there is one, it is not known to be", () => {
    bench.latchFailure = undefined;
    const shown = () => bench.status.stopped;
    bench.estop("smoke");
    expect(shown()).toMatchObject({ durable: false, why: expect.stringContaining("has not said yet") });
    bench.latched(bench.lastRequest, "it is full");
    expect(shown()).toEqual({ reason: "smoke", since: expect.any(Number), durable: false, why: "it is full" });
    // Unasked, since it has been stopped past this router, or has freed the disk.
    bench.latched(0, null);
    expect(shown()).toEqual({ reason: "smoke", since: expect.any(Number), durable: true });
    bench.reset();
    expect(shown()).toBeNull();
    bench.handle({ type: "stopped", stopped: { reason: "button", since: 1 } });
    expect(shown()).toMatchObject({ reason: "button", durable: false });
  });

  describe("is answered", () => {
    const answer = () => {
      const reply = bench.answers.at(-1)?.reply;
      return reply?.kind === "ack" ? reply.data : reply;
    };
    beforeEach(() => {
      bench.latchFailure = undefined;
    });

    test("when it is on the disk, and waits for nothing else", () => {
      bench.ready("w1", ["spin"]);
      bench.ask("runs", "spin");
      bench.estop("smoke");
      expect(bench.abortsOf("w1")).toEqual(["1: STOPPED"]);
      expect(bench.ends).toEqual([]);
      bench.latched(bench.lastRequest, null);
      expect(answer()).toEqual({ stopped: { reason: "smoke", since: expect.any(Number) }, durable: true });
      bench.pass(stopAnswerMs);
      expect(bench.ends.filter((end) => end.startsWith("estop"))).toHaveLength(1);
    });

    test("with why it cannot be put there; the next one has it tried again", () => {
      bench.estop("smoke");
      bench.latched(bench.lastRequest, "it is full");
      expect(answer()).toMatchObject({ durable: false, why: "it is full" });
      bench.estop("fire");
      bench.latched(bench.lastRequest, null);
      expect(answer()).toMatchObject({ stopped: { reason: "smoke" }, durable: true });
      expect(bench.wishes).toEqual(["estop", "estop"]);
    });

    test("without the supervisor's word when its time is over, by which each that waits is answered for itself", () => {
      bench.estop();
      bench.pass(stopAnswerMs - 1);
      bench.estop("", "other");
      expect(bench.answers).toEqual([]);
      bench.pass(1);
      expect(answer()).toMatchObject({ durable: false, why: expect.stringContaining("the supervisor has not said") });
      expect(bench.answers.map(({ to }) => to)).toEqual(["operator"]);
      // One word does for all that have come since it was asked for.
      expect(bench.wishes).toEqual(["estop"]);
      bench.latched(bench.lastRequest, null);
      expect(bench.answers.map(({ to }) => to)).toEqual(["operator", "other"]);
      expect(answer()).toMatchObject({ durable: true });
    });

    test("by no word that is of before a reset", () => {
      bench.estop("", "one");
      const before = bench.lastRequest;
      bench.control({ command: "reset" });
      bench.estop("", "other");
      bench.latched(before, null);
      expect(bench.answers.map(({ to }) => to)).toEqual(["operator", "one"]);
      bench.latched(bench.lastRequest, null);
      expect(bench.answers.map(({ to }) => to)).toEqual(["operator", "one", "other"]);
    });

    test("at once where the supervisor is dead, or too many wait", () => {
      for (let count = 0; count <= stopAnswersMax; count++) bench.estop("", `operator${count}`);
      expect(bench.answers.map(({ to }) => to)).toEqual([`operator${stopAnswersMax}`]);
      expect(answer()).toMatchObject({ durable: false, why: expect.stringContaining("others wait") });
      bench.handle({ type: "orphaned" });
      expect(bench.ends).toHaveLength(stopAnswersMax + 1);
      expect(answer()).toMatchObject({ durable: false, why: "the engine's supervisor has died" });
    });

    test("to nobody whose connection is gone, and the stop holds", () => {
      bench.estop();
      bench.lose("operator");
      bench.latched(bench.lastRequest, null);
      expect(bench.answers).toEqual([]);
      expect(bench.status.stopped).not.toBeNull();
    });
  });

  test("answers new requests at once with its reason and its time, of whatever version", () => {
    bench.ready("w1", ["spin"]);
    bench.handle({ type: "stopped", stopped: { reason: "smoke", since: 1_700_000_000 } });
    bench.ask("a", "spin");
    expect(lastError()).toEqual({
      code: "STOPPED",
      message: "in emergency stop since 2023-11-14T22:13:20.000Z (smoke); task-engine reset ends it",
    });
    bench.askOld("spin");
    expect(lastError().code).toBe("STOPPED");
    bench.ask("b", "no_such");
    expect(lastError().code).toBe("UNKNOWN_TASK");
    expect(bench.jobsOf("w1")).toEqual([]);
  });

  test("says the same to what it ends", () => {
    bench.handle({ type: "tasks", tasks: [{ name: "spin" }] });
    bench.ask("a", "spin");
    bench.handle({ type: "stopped", stopped: { reason: "", since: 1_700_000_000 } });
    expect(lastError().message).toBe("in emergency stop since 2023-11-14T22:13:20.000Z; task-engine reset ends it");
  });

  test("holds whatever is said of its time", () => {
    bench.ready("w1", ["spin"]);
    bench.handle({ type: "stopped", stopped: { reason: "", since: 1e300 } });
    bench.ask("a", "spin");
    expect(lastError().message).toStartWith("in emergency stop since a time that is not known;");
  });

  test("that is asked for again keeps its first reason and time, and is logged once", () => {
    bench.estop("smoke");
    const first = bench.status.stopped;
    bench.estop("fire");
    expect(bench.answers.at(-1)?.reply).toMatchObject({ data: { stopped: { reason: "smoke" } } });
    expect(bench.status.stopped).toEqual(first ?? {});
    expect(bench.logs.filter((line) => line.includes("EMERGENCY STOP"))).toHaveLength(1);
  });

  test("cuts a long grace short that has begun already", () => {
    bench.ready("w1", [{ name: "slow", graceMs: 60_000 }]);
    bench.ask("a", "slow");
    bench.cancel("a");
    bench.pass(1000);
    bench.estop();
    bench.pass(stopGraceMs);
    expect(bench.kills).toEqual([1]);
    bench.die("w1", 1);
    expect(bench.ends).toEqual(["estop: ACK", "a: CANCELLED"]);
  });

  test("leaves a shorter grace as it is", () => {
    bench.ready("w1", [{ name: "quick", graceMs: 10 }]);
    bench.ask("a", "quick");
    bench.estop();
    bench.pass(10);
    expect(bench.kills).toEqual([1]);
  });

  test("gives its own grace also to a job that was cancelled before and comes to the head of its worker later", () => {
    bench.ready("w1", [{ name: "count", graceMs: 60_000 }]);
    bench.learn("w1", "count");
    bench.ask("a", "count");
    bench.ask("b", "count");
    bench.cancel("b");
    bench.estop();
    bench.fail("w1", 2);
    bench.pass(stopGraceMs);
    expect(bench.kills).toEqual([1]);
  });

  test("lets an onStop that runs have its time", () => {
    bench.ready("w1", [drive]);
    bench.ask("a", "drive");
    bench.cancel("a");
    bench.say("w1", { type: "SAFING", job: 1 });
    bench.estop();
    bench.pass(onStopMs);
    expect(bench.kills).toEqual([]);
    bench.fail("w1", 1);
    expect(bench.ends).toEqual(["estop: ACK", "a: CANCELLED"]);
    expect(bench.leftovers).toEqual(nothing);
  });

  test("lets a job that has thrown and is made safe have its time, too", () => {
    bench.ready("w1", [drive]);
    bench.ask("a", "drive");
    bench.say("w1", { type: "SAFING", job: 1 });
    bench.estop();
    bench.pass(onStopMs);
    expect(bench.kills).toEqual([]);
    bench.pass(abortGraceMs);
    expect(bench.kills).toEqual([1]);
  });

  test("ends what waits for another try, and nothing of it begins after the reset", () => {
    const tasks = [{ name: "see", idempotent: { tries: 5, backoffMs: 1000, onError: true } }];
    bench.ready("w1", tasks);
    bench.ask("a", "see");
    bench.fail("w1", 1);
    bench.estop();
    expect(bench.ends).toEqual(["estop: ACK", "a: STOPPED"]);
    bench.reset();
    bench.pass(10_000);
    expect(bench.jobsOf("w1")).toEqual([1]);
  });

  test("ends what may run twice once and for all, though its worker dies of it", () => {
    bench.ready("w1", [{ name: "see", idempotent: true }]);
    bench.ask("a", "see");
    bench.estop();
    bench.pass(stopGraceMs);
    bench.die("w1", 1);
    bench.ready("w2", ["see"]);
    bench.pass(1000);
    expect(bench.ends).toEqual(["estop: ACK", "a: STOPPED"]);
    expect(bench.jobsOf("w2")).toEqual([]);
  });

  test("reaches the job of a worker that leaves, and what that gives back does not begin again", () => {
    bench.ready("w1", ["count"]);
    bench.ready("w2", ["count"]);
    bench.learn("w1", "count");
    for (const serial of ["a", "b", "c", "d"]) bench.ask(serial, "count");
    bench.say("w1", { type: "LEAVE" });
    bench.estop();
    const [first = 0, second = 0] = bench.jobsOf("w1");
    expect(bench.abortsOf("w1")).toEqual([`${first}: STOPPED`, `${second}: STOPPED`]);
    bench.say("w1", { type: "RETURN", jobs: [second] });
    bench.pass(stopGraceMs);
    expect(bench.kills.sort()).toEqual([1, 2]);
    bench.die("w1", first);
    bench.die("w2", 0);
    expect(bench.ends.filter((end) => end.endsWith("STOPPED"))).toHaveLength(4);
    expect(bench.leftovers).toEqual(nothing);
  });

  test("ends the jobs of a worker that is lost, begun or not, and none is tried again", () => {
    bench.ready("w1", [{ name: "count", idempotent: true }]);
    bench.learn("w1", "count");
    bench.ask("a", "count");
    bench.ask("b", "count");
    bench.handle({ type: "disconnected", key: "w1" });
    bench.estop();
    bench.pass(verdictMs);
    expect(bench.kills).toEqual([1]);
    bench.handle({ type: "gone", pid: 1, begun: 2 });
    expect(bench.ends.sort()).toEqual(["a: STOPPED", "b: STOPPED", "estop: ACK"]);
    expect(bench.leftovers).toEqual(nothing);
  });

  test("ends the job of a worker that nobody can kill, which then may begin nothing until the reset", () => {
    bench.ready("f1", ["spin"], { supervised: false });
    bench.ask("a", "spin");
    bench.estop();
    bench.pass(stopGraceMs);
    expect(bench.ends).toEqual(["estop: ACK", "a: STOPPED"]);
    expect(bench.status.workers).toMatchObject([{ state: "stuck" }]);
    bench.done("f1", 1);
    bench.ask("b", "spin");
    expect(bench.jobsOf("f1")).toEqual([1]);
  });

  test("ends each part of a batch, and the batch is answered whole", () => {
    bench.ready("w1", ["spin", battery]);
    bench.batch("a", ["spin", "spin", "battery"]);
    bench.estop();
    bench.done("w1", 1);
    bench.done("w1", 3);
    expect(bench.answers.at(-1)?.reply).toMatchObject({
      kind: "batch",
      parts: [{ error: { code: "STOPPED" } }, { error: { code: "STOPPED" } }, { data: "result 3" }],
    });
  });

  test("comes during a drain, too", () => {
    bench.ready("w1", ["spin"]);
    bench.ask("a", "spin");
    bench.handle({ type: "drain" });
    bench.estop();
    bench.pass(stopGraceMs);
    expect(bench.kills).toEqual([1]);
    bench.die("w1", 1);
    expect(bench.ends.at(-1)).toBe("a: STOPPED");
    expect(bench.wishes).toEqual(["estop", "drained"]);
  });

  test("ends what still waits when it is reset, or when the engine stops", () => {
    for (const end of [() => bench.reset(), () => bench.handle({ type: "drain" })]) {
      bench.handle({ type: "tasks", tasks: [{ name: "spin" }] });
      for (let count = 0; count < 1000; count++) bench.ask(`${count}`, "spin");
      bench.estop();
      bench.answers.length = 0;
      end();
      const stopped = bench.ends.filter((text) => text.endsWith("STOPPED"));
      expect(stopped.length).toBe(1000 - clearingJobsMax);
      expect(bench.status.jobs?.waiting).toBe(0);
    }
  });

  test("ends a full queue little by little, in no time that is waited, and hands out nothing of it meanwhile", () => {
    bench.handle({ type: "tasks", tasks: [{ name: "spin" }] });
    for (let count = 0; count < 10; count++) bench.batch(`b${count}`, new Array<string>(1000).fill("spin"));
    bench.estop();
    expect(bench.ends).toEqual(["estop: ACK"]);
    bench.ready("w1", ["spin"]);
    expect(bench.status.jobs?.waiting).toBeGreaterThan(9000);
    bench.pass(0);
    expect(bench.ends).toHaveLength(11);
    expect(bench.jobsOf("w1")).toEqual([]);
    expect(bench.status.jobs?.failed).toEqual({ STOPPED: 10_000 });
    expect(bench.leftovers).toEqual(nothing);
  });

  describe("is told to workers that hear of it", () => {
    const since = expect.any(Number);
    const stopsOf = (key: string) =>
      bench.headersOf(key).flatMap((header) => (header.type === "STOPPED" ? [header.stopped] : []));

    test("with its end, after the aborts and before anything is confirmed, and to no other", () => {
      bench.ready("w1", ["spin"], { stops: true });
      bench.ready("f2", ["spin"], { supervised: false });
      bench.dataWorker("d9");
      bench.ask("runs", "spin");
      bench.ask("runs too", "spin");
      bench.estop("smoke");
      expect(bench.headersOf("w1").slice(-2)).toMatchObject([{ type: "ABORT" }, { type: "STOPPED" }]);
      bench.reset();
      expect(stopsOf("w1")).toEqual([null, { reason: "smoke", since }, null]);
      expect([...stopsOf("f2"), ...stopsOf("d9")]).toEqual([]);
    });

    test("by the supervisor's word, too; a word of before that it is over is passed on to nobody", () => {
      bench.ready("w1", ["spin"], { stops: true });
      bench.handle({ type: "stopped", stopped: { reason: "button", since: 1 } });
      expect(stopsOf("w1")).toEqual([null, { reason: "button", since: 1 }]);
      bench.estop();
      bench.resume();
      expect(stopsOf("w1").at(-1)).toEqual({ reason: "button", since: 1 });
    });

    test("before they are welcome, be it that there is none: another router may have told them of one", () => {
      bench.ready("w1", ["spin"], { stops: true });
      expect(bench.headersOf("w1")).toMatchObject([{ type: "STOPPED", stopped: null }, { type: "WELCOME" }]);
      bench.estop("smoke");
      bench.ready("w2", ["spin"], { stops: true });
      const told = [{ type: "STOPPED", stopped: { reason: "smoke", since } }, { type: "WELCOME" }];
      expect(bench.headersOf("w2")).toMatchObject(told);
      bench.ready("w2", ["spin"], { stops: true });
      expect(bench.headersOf("w2").slice(2)).toMatchObject(told);
    });
  });

  test("by the supervisor's word does the same, and the supervisor is not told what it knows", () => {
    bench.ready("w1", ["spin"]);
    bench.ask("a", "spin");
    bench.handle({ type: "stopped", stopped: { reason: "button", since: 1 } });
    expect(bench.abortsOf("w1")).toEqual(["1: STOPPED"]);
    expect(bench.wishes).toEqual([]);
  });
});
