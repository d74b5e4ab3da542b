import { beforeEach, describe, expect, test } from "bun:test";
import { Requests } from "../../src/broker/requests.ts";
import { abortGraceMs } from "../../src/limits.ts";
import { BrokerBench, nothing } from "../support/broker-bench.ts";
import { makeJob } from "../support/job.ts";

const held = { name: "held", deadmanMs: 200 };
const tasks = ["free", held, { name: "drive", onStop: true, deadmanMs: 100 }];

let bench: BrokerBench;
beforeEach(() => {
  bench = new BrokerBench();
  bench.ready("w1", tasks);
});

/** `serial: ms` of each wish to hear of a requestor. */
const wishes = (): string[] =>
  bench.answers.flatMap(({ reply }) =>
    reply.kind === "keepAlive" ? [`${reply.meta.serial ?? "-"}: ${reply.deadmanMs}`] : [],
  );

describe("a job that its requestor has to stand by", () => {
  test("is aborted once that was quiet for so long, and killed if it does not let go", () => {
    bench.ask("a", "free", { deadmanMs: 100 });
    bench.pass(99);
    expect(bench.abortsOf("w1")).toEqual([]);
    bench.pass(1);
    expect(bench.abortsOf("w1")).toEqual(["1: DEADMAN"]);
    bench.pass(abortGraceMs);
    expect(bench.kills).toEqual([1]);
    bench.die("w1", 1);
    expect(bench.ends).toEqual(["a: DEADMAN"]);
    expect(bench.leftovers).toEqual(nothing);
  });

  test("ends at that time also while it waits, and never begins", () => {
    bench.ask("busy", "free");
    bench.ask("a", "free", { deadmanMs: 100 });
    bench.pass(100);
    expect(bench.ends).toEqual(["a: DEADMAN"]);
    bench.done("w1", 1);
    expect(bench.jobsOf("w1")).toEqual([1]);
  });

  test("goes on as long as that is heard of, however late in its time", () => {
    bench.ask("a", "free", { deadmanMs: 100 });
    for (let count = 0; count < 20; count++) {
      bench.pass(99);
      bench.keepAlive("a");
    }
    expect(bench.abortsOf("w1")).toEqual([]);
    bench.pass(99);
    expect(bench.abortsOf("w1")).toEqual([]);
    bench.pass(1);
    expect(bench.abortsOf("w1")).toEqual(["1: DEADMAN"]);
  });

  test("is not saved by what comes after it was ended", () => {
    bench.ask("a", "free", { deadmanMs: 100 });
    bench.pass(100);
    bench.keepAlive("a");
    bench.done("w1", 1);
    expect(bench.ends).toEqual(["a: DEADMAN"]);
  });

  test("is not kept by another requestor, another serial or another user", () => {
    bench.users.set("requestor", "one");
    bench.authorize("one send", "two send");
    bench.ask("a", "free", { deadmanMs: 100 });
    bench.ask("b", "held", {}, "stranger");
    bench.pass(60);
    bench.keepAlive("a", "stranger");
    bench.keepAlive("b");
    bench.users.set("requestor", "two");
    bench.keepAlive("a");
    bench.pass(40);
    expect(bench.abortsOf("w1")).toEqual(["1: DEADMAN"]);
  });

  test("is not kept by other messages of its requestor", () => {
    bench.ask("a", "free", { deadmanMs: 100 });
    bench.pass(60);
    bench.ask("b", "free");
    bench.cancel("b");
    bench.control({ command: "status" }, "requestor");
    bench.pass(40);
    expect(bench.abortsOf("w1")).toEqual(["1: DEADMAN"]);
  });

  test("has the tighter time of its task and its request", () => {
    for (const [option, limit] of [
      [100, 100],
      [1000, 200],
    ] as const) {
      bench = new BrokerBench();
      bench.ready("w1", tasks);
      bench.ask("a", "held", { deadmanMs: option });
      bench.pass(limit - 1);
      expect(bench.abortsOf("w1")).toEqual([]);
      bench.pass(1);
      expect(bench.abortsOf("w1")).toEqual(["1: DEADMAN"]);
    }
  });

  test("has its requestor told of a time that is not its own wish, and of no other", () => {
    bench.ask("wished", "free", { deadmanMs: 100 });
    bench.ask("tighter", "held", { deadmanMs: 100 });
    bench.ask("looser", "held", { deadmanMs: 1000 });
    bench.ask("same", "held", { deadmanMs: 200 });
    bench.ask("silent", "held");
    bench.ask("none", "free");
    expect(wishes()).toEqual(["looser: 200", "silent: 200"]);
  });

  test("is told of it before its answer", () => {
    bench.ask("a", "held");
    bench.done("w1", 1);
    expect(bench.answers.map(({ reply }) => reply.kind)).toEqual(["keepAlive", "ack"]);
  });

  test("ends at once when its requestor's connection is lost, be it that it runs or waits", () => {
    bench.ask("a", "free", { deadmanMs: 10_000 });
    bench.ask("b", "free", { deadmanMs: 10_000 });
    bench.ask("c", "free");
    bench.ask("d", "free", { deadmanMs: 10_000 }, "other");
    bench.lose("requestor");
    bench.lose("nobody");
    expect(bench.abortsOf("w1")).toEqual(["1: DEADMAN"]);
    expect(bench.ends).toEqual(["b: DEADMAN", "c: CANCELLED"]);
    bench.done("w1", 1);
    bench.done("w1", 4);
    expect(bench.ends).toEqual(["b: DEADMAN", "c: CANCELLED", "a: DEADMAN", "d: ACK"]);
    expect(bench.leftovers).toEqual(nothing);
  });

  test("goes on without a dead man when its requestor's connection is lost, if it has begun; what waits never begins", () => {
    bench.ask("a", "free");
    bench.ask("b", "free");
    bench.ask("c", "free", {}, "other");
    bench.lose("requestor");
    expect(bench.abortsOf("w1")).toEqual([]);
    expect(bench.ends).toEqual(["b: CANCELLED"]);
    bench.done("w1", 1);
    bench.done("w1", 3);
    expect(bench.jobsOf("w1")).toEqual([1, 3]);
    expect(bench.ends).toEqual(["b: CANCELLED", "a: ACK", "c: ACK"]);
    expect(bench.leftovers).toEqual(nothing);
  });

  test("is refused where its requestor cannot say that it is there", () => {
    bench.askOld("held");
    bench.askUnnamed("held");
    bench.askUnnamed("free", { deadmanMs: 100 });
    expect(bench.ends).toEqual(["-: UNSUPPORTED_VERSION", "-: BAD_FRAME", "-: BAD_FRAME"]);
    bench.askOld("free");
    bench.askUnnamed("free");
    expect(bench.jobsOf("w1")).toEqual([1]);
    expect(bench.status.jobs?.waiting).toBe(1);
  });

  test("is made safe in its worker, and elsewhere if that dies", () => {
    bench.ready("w2", tasks);
    bench.ask("a", "drive");
    bench.pass(100);
    bench.say("w1", { type: "SAFING", job: 1 });
    bench.pass(abortGraceMs);
    expect(bench.kills).toEqual([]);
    bench.die("w1", 1);
    expect(bench.ends).toEqual(["a: DEADMAN"]);
    expect(bench.headersOf("w2").at(-1)).toMatchObject({ type: "SAFE", task: "drive", code: "DEADMAN" });
  });

  test("is not tried again once its requestor is gone, also not one that waits for its next try", () => {
    const twice = [{ name: "see", idempotent: { onError: true, backoffMs: 1000 } }];
    bench.ready("w2", twice);
    bench.ask("a", "see", { deadmanMs: 200 });
    bench.fail("w2", 1);
    bench.pass(200);
    expect(bench.ends).toEqual(["a: DEADMAN"]);
    bench.pass(10_000);
    expect(bench.jobsOf("w2")).toEqual([1]);
  });

  test("is stood by over its tries", () => {
    bench.ready("w2", [{ name: "see", idempotent: { onError: true, backoffMs: 1000 } }]);
    bench.ask("a", "see", { deadmanMs: 200 });
    bench.pass(150);
    bench.fail("w2", 1);
    bench.keepAlive("a");
    for (let count = 0; count < 5; count++) {
      bench.pass(150);
      bench.keepAlive("a");
    }
    expect(bench.jobsOf("w2")).toEqual([1, 1]);
    bench.pass(200);
    expect(bench.abortsOf("w2")).toEqual(["1: DEADMAN"]);
  });

  test("is ended in emergency stop, too", () => {
    bench.ready("w2", [{ name: "battery", allowedWhenStopped: true, deadmanMs: 100 }]);
    bench.estop();
    bench.ask("a", "battery");
    bench.pass(100);
    expect(bench.abortsOf("w2")).toEqual(["1: DEADMAN"]);
  });
});

describe("of a batch", () => {
  test("only those parts end that need it, by the tightest time of all", () => {
    bench.ready("w2", tasks);
    bench.ready("w3", tasks);
    bench.batch("a", ["held", "free", "drive"]);
    expect(wishes()).toEqual(["a: 100"]);
    bench.pass(100);
    const aborts = ["w1", "w2", "w3"].flatMap((key) => bench.abortsOf(key));
    expect(aborts.sort()).toEqual(["1: DEADMAN", "3: DEADMAN"]);
    for (const key of ["w1", "w2", "w3"]) for (const id of bench.jobsOf(key)) bench.done(key, id);
    expect(bench.answers.at(-1)?.reply).toMatchObject({
      parts: [{ error: { code: "DEADMAN" } }, { data: "result 2" }, { error: { code: "DEADMAN" } }],
    });
  });

  test("one KEEPALIVE is for all parts", () => {
    bench.batch("a", ["held", "held"]);
    bench.pass(150);
    bench.keepAlive("a");
    bench.pass(150);
    expect(bench.ends).toEqual([]);
    bench.pass(50);
    expect(bench.abortsOf("w1")).toEqual(["1: DEADMAN"]);
    bench.done("w1", 1);
    expect(bench.answers.at(-1)?.reply.kind).toBe("batch");
  });
});

test("a KEEPALIVE for what is answered, or never was, is counted and comes to nothing", () => {
  bench.keepAlive("never");
  bench.ask("a", "free", { deadmanMs: 100 });
  bench.done("w1", 1);
  bench.keepAlive("a");
  expect(bench.ends).toEqual(["a: ACK"]);
  expect(bench.status.jobs?.dropped).toEqual({ keepAliveOfNoRequest: 2 });
});

test("of what is answered nothing is left: no time and no connection ends it again", () => {
  bench.ask("a", "free", { deadmanMs: 100 });
  bench.done("w1", 1);
  bench.ask("a", "free");
  bench.lose("requestor");
  bench.pass(1000);
  expect(bench.abortsOf("w1")).toEqual([]);
  bench.done("w1", 2);
  expect(bench.ends).toEqual(["a: ACK", "a: ACK"]);
});

test("requests are found by their requestor's connection until they are answered", () => {
  const requests = new Requests("ROUTER-1");
  const peer = "peer";
  const open = (serial: string, deadmanMs: number): ReturnType<Requests["open"]> =>
    requests.open(
      { requestor: { peer, envelope: [] }, user: null, meta: { version: 0.2, serial } },
      1,
      1,
      deadmanMs,
      0,
    );
  const guarded = open("a", 100);
  open("b", Number.POSITIVE_INFINITY);
  expect(requests.guardedOf(peer)).toEqual("code" in guarded ? [] : [guarded]);
  if ("code" in guarded) throw new Error(guarded.message);
  const outcome = { type: "ACK", by: "TASK-1", code: null, body: Buffer.from("{}") } as const;
  requests.settle({ ...makeJob(), request: guarded, part: 0 }, outcome, 0);
  expect(requests.guardedOf(peer)).toEqual([]);
});
