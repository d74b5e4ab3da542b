import { beforeEach, describe, expect, test } from "bun:test";
import { jobsPerClientMax, strangeWorkersMax } from "../../src/limits.ts";
import type { ControlInput } from "../../src/protocol/control.ts";
import { Access, engineUser, formerUser } from "../../src/security/access.ts";
import { BrokerBench, nothing } from "../support/broker-bench.ts";

let bench: BrokerBench;
beforeEach(() => {
  bench = new BrokerBench();
  for (const name of ["laptop", "phone", "arm"]) bench.users.set(name, name);
  bench.users.set("w1", engineUser);
  bench.users.set("w2", "arm");
  bench.users.set("operator", "operator");
});

const messages = (): string[] =>
  bench.answers.map(({ reply }) =>
    reply.kind === "error" ? `${reply.error.code}: ${reply.error.message}` : reply.kind,
  );

describe("a requestor", () => {
  test("gets what it has the right to, and for the rest the right that it lacks", () => {
    bench.authorize("laptop send:count");
    bench.ready("w1", ["count", "drive"]);
    bench.ask("a", "count", {}, "laptop");
    bench.ask("b", "drive", {}, "laptop");
    bench.batch("c", ["count", "drive"], {}, "laptop");
    bench.done("w1", 1);
    expect(messages()).toEqual([
      "UNAUTHORIZED: client laptop lacks the right send:drive",
      "UNAUTHORIZED: client laptop lacks the right send:drive",
      "ack",
    ]);
    expect(bench.jobsOf("w1")).toEqual([1]);
    expect(bench.logs).toEqual([
      "Refused a request: client laptop lacks the right send:drive; further ones are only counted",
    ]);
  });

  test("is not told which tasks there are that it may not run", () => {
    bench.authorize("laptop read");
    bench.ask("a", "no-such-task", {}, "laptop");
    expect(messages()).toEqual(["UNAUTHORIZED: client laptop lacks the right send:no-such-task"]);
  });

  test("of whom nothing is known may do nothing, whatever it says of itself", () => {
    bench.authorize("laptop send");
    bench.ready("w1", ["count"]);
    bench.users.set("laptop", formerUser);
    bench.ask("a", "count", {}, "laptop");
    bench.control({ command: "tasks" }, "laptop");
    expect(messages()).toEqual(Array(2).fill("UNAUTHORIZED: this key is not authorized any more"));
  });

  test("reads and writes the topics that it may, by what they begin with", () => {
    bench.authorize("laptop read:arm/ write:cam", "operator control");
    bench.users.set("data", engineUser);
    bench.dataWorker("data");
    bench.put("a", "camera", 1, "laptop");
    bench.put("b", "arm/left", 1, "laptop");
    bench.control({ command: "get", topic: "arm/left" }, "laptop");
    bench.control({ command: "get", topic: "camera" }, "laptop");
    expect(messages()).toEqual([
      "UNAUTHORIZED: client laptop lacks the right write:arm/left",
      "UNAUTHORIZED: client laptop lacks the right read:camera",
    ]);
    // One at a time, of what nothing is known yet.
    bench.done("data", 1);
    expect(bench.jobsOf("data")).toEqual([1, 2]);
  });

  test.each<ControlInput>([{ command: "status" }, { command: "cancel", serial: "a" }])(
    "needs the right control for %j, and any right for the list of tasks",
    (control) => {
      bench.authorize("laptop send", "operator control");
      bench.control(control, "laptop");
      bench.control({ command: "tasks" }, "laptop");
      bench.control(control, "operator");
      expect(messages()).toEqual(["UNAUTHORIZED: client laptop lacks the right control", "ack", "ack"]);
    },
  );

  test("may see the status by the right to observe, and no more", () => {
    bench.authorize("phone observe");
    bench.control({ command: "status" }, "phone");
    bench.control({ command: "reset" }, "phone");
    expect(messages()).toEqual(["ack", "UNAUTHORIZED: client phone lacks the right control"]);
  });

  test("may always cancel what it has asked for itself, and never by another's name what that has asked for", () => {
    bench.authorize("laptop send", "phone send");
    bench.ready("w1", ["count"]);
    bench.ask("a", "count", {}, "laptop");
    bench.ask("b", "count", {}, "laptop");
    // The routing id is chosen by its owner.
    bench.users.set("laptop", "phone");
    bench.cancel("b", "laptop");
    bench.users.set("laptop", "laptop");
    bench.cancel("b", "laptop");
    expect(bench.ends).toEqual(["b: UNKNOWN_SERIAL", "b: CANCELLED"]);
  });
});

describe("a worker", () => {
  test("is admitted if it may serve all of its tasks, and told what is missing else", () => {
    bench.authorize("arm worker:grip,drive");
    bench.ready("w2", ["grip", "see"]);
    expect(bench.headersOf("w2")).toEqual([
      { type: "REFUSED", code: "UNAUTHORIZED", message: "client arm lacks the right worker:see" },
    ]);
    bench.say("w2", { type: "BEAT" });
    bench.ready("w2", ["grip"]);
    expect(bench.headersOf("w2").map(({ type }) => type)).toEqual(["REFUSED", "WHO", "WELCOME"]);
  });

  test("keeps data only if its right is not limited to some tasks", () => {
    bench.authorize("arm worker:grip");
    bench.users.set("data", "arm");
    bench.dataWorker("data");
    expect(bench.headersOf("data")).toMatchObject([{ type: "REFUSED", message: "client arm lacks the right worker" }]);
    bench.authorize("arm worker");
    bench.dataWorker("data");
    expect(bench.headersOf("data").at(-1)).toMatchObject({ type: "WELCOME" });
  });

  test("publishes what its key may write", () => {
    bench.authorize("arm worker write:arm/");
    bench.users.set("data", engineUser);
    bench.dataWorker("data");
    bench.ready("w2", ["grip"]);
    bench.say("w2", { type: "PUBLISH", topic: "arm/left" }, [Buffer.from('{"data":1,"pack":1}')]);
    bench.say("w2", { type: "PUBLISH", topic: "battery" }, [Buffer.from('{"data":1,"pack":1}')]);
    expect(bench.headersOf("data").filter(({ type }) => type === "PUT")).toMatchObject([{ topics: ["arm/left"] }]);
  });

  test("that says it is the engine's own gets none of those killed", () => {
    bench.authorize("arm worker", "laptop send");
    bench.ready("w1", ["spin"], { pid: 77 });
    bench.ask("a", "spin", {}, "laptop");
    bench.ready("w2", ["spin"], { pid: 77, supervised: true });
    bench.pass(20_000);
    expect(bench.kills).toEqual([]);
    bench.done("w1", 1);
    expect(bench.ends).toEqual(["a: ACK"]);
  });

  test("is not taken for another whose routing id it has", () => {
    bench.authorize("arm worker", "laptop send");
    bench.ready("w1", ["count"]);
    bench.ask("a", "count", {}, "laptop");
    bench.users.set("w1", "arm");
    bench.done("w1", 1);
    expect(bench.headersOf("w1").at(-1)).toEqual({ type: "WHO" });
    expect(bench.ends).toEqual([]);
  });
});

describe("when a right is taken back", () => {
  test("what was asked by it ends, be it that it waits or runs, and the rest goes on", () => {
    bench.authorize("laptop send", "phone send");
    bench.ready("w1", ["drive", "count"]);
    bench.ask("runs", "drive", {}, "laptop");
    bench.ask("waits", "drive", {}, "laptop");
    bench.ask("other", "drive", {}, "phone");
    bench.ask("allowed", "count", {}, "laptop");
    bench.authorize("laptop send:count", "phone send", "operator control");
    // All at once: a connection that is about to be cut carries no answer that comes later.
    expect(bench.ends).toEqual(["waits: UNAUTHORIZED", "runs: UNAUTHORIZED"]);
    expect(bench.headersOf("w1").at(-1)).toMatchObject({ type: "ABORT", job: 1, code: "UNAUTHORIZED" });
    bench.fail("w1", 1, "CANCELLED");
    bench.done("w1", 3);
    bench.done("w1", 4);
    expect(bench.ends).toEqual(["waits: UNAUTHORIZED", "runs: UNAUTHORIZED", "other: ACK", "allowed: ACK"]);
    expect(bench.leftovers).toEqual(nothing);
  });

  test("a job that was told to end before is answered once, by what it was told", () => {
    bench.authorize("laptop send");
    bench.ready("w1", ["drive"]);
    bench.ask("a", "drive", {}, "laptop");
    bench.cancel("a", "laptop");
    bench.authorize("operator control");
    expect(bench.ends).toEqual(["a: CANCELLED"]);
    bench.say("w1", { type: "PROGRESS", job: 1 }, [Buffer.from('{"data":1,"pack":1}')]);
    bench.fail("w1", 1, "CANCELLED");
    expect(bench.answers).toHaveLength(1);
    expect(bench.leftovers).toEqual(nothing);
  });

  test("of a batch each part that is not allowed any more has the error, and the batch is answered once", () => {
    bench.authorize("laptop send");
    bench.ready("w1", ["drive", "count"]);
    bench.batch("a", ["drive", "count", "drive"], {}, "laptop");
    bench.authorize("laptop send:count");
    expect(bench.ends).toEqual([]);
    bench.fail("w1", 1, "CANCELLED");
    bench.done("w1", 2);
    expect(bench.answers.at(-1)?.reply).toMatchObject({
      kind: "batch",
      parts: [{ error: { code: "UNAUTHORIZED" } }, { data: "result 2" }, { error: { code: "UNAUTHORIZED" } }],
    });
    expect(bench.ends).toEqual(["a: ACK"]);
  });

  test("a client whose line is gone is told that it is not authorized any more", () => {
    bench.authorize("laptop send");
    bench.handle({ type: "tasks", tasks: [{ name: "count" }] });
    bench.ask("a", "count", {}, "laptop");
    bench.authorize();
    bench.ask("b", "count", {}, "laptop");
    expect(messages()).toEqual(Array(2).fill("UNAUTHORIZED: client laptop is not authorized any more"));
  });

  test("a worker loses its jobs, and gets no more", () => {
    bench.authorize("laptop send", "arm worker");
    bench.ready("w2", ["grip"], { supervised: false });
    bench.ask("a", "grip", {}, "laptop");
    bench.authorize("laptop send", "arm worker:see");
    expect(bench.headersOf("w2").at(-1)).toMatchObject({
      type: "REFUSED",
      message: "client arm lacks the right worker:grip",
    });
    expect(bench.ends).toEqual(["a: INTERRUPTED"]);
    bench.ask("b", "grip", {}, "laptop");
    expect(bench.ends).toEqual(["a: INTERRUPTED", "b: UNAVAILABLE"]);
  });

  test("a worker whose name has another key gets no more, though that key may serve the same", () => {
    bench.authorize("laptop send", "arm worker");
    bench.ready("w2", ["grip"], { supervised: false });
    const access = Access.parse(`${"l".repeat(40)} laptop send\n${"a".repeat(40)} arm worker`);
    if (typeof access === "string") throw new Error(access);
    bench.handle({ type: "tasks", tasks: [{ name: "grip" }] });
    bench.handle({ type: "access", access });
    expect(bench.headersOf("w2").at(-1)).toMatchObject({
      type: "REFUSED",
      message: "client arm is not authorized any more",
    });
    bench.ask("b", "grip", {}, "laptop");
    expect(bench.jobsOf("w2")).toEqual([]);
  });
});

test("workers from elsewhere, however many, leave room for the engine's own", () => {
  bench.authorize("arm worker");
  for (let index = 0; index <= strangeWorkersMax; index++) {
    bench.users.set(`arm-${index}`, "arm");
    bench.ready(`arm-${index}`, ["grip"]);
  }
  expect(bench.headersOf(`arm-${strangeWorkersMax - 1}`)).toMatchObject([{ type: "WELCOME" }]);
  expect(bench.headersOf(`arm-${strangeWorkersMax}`)).toMatchObject([{ type: "REFUSED", code: "QUEUE_FULL" }]);
  bench.ready("w1", ["count"]);
  expect(bench.headersOf("w1")).toMatchObject([{ type: "WELCOME" }]);
});

describe("one client can have so much in flight", () => {
  const most = (who: string): void => {
    for (let index = 0; index < jobsPerClientMax; index += 512)
      bench.batch(`${who}${index}`, Array(512).fill("count"), {}, who);
  };

  test("by its name, over all of its connections, while others are served", () => {
    bench.authorize("laptop send", "phone send");
    bench.handle({ type: "tasks", tasks: [{ name: "count" }] });
    bench.users.set("laptop-2", "laptop");
    most("laptop");
    bench.ask("more", "count", {}, "laptop-2");
    expect(messages()).toEqual([
      expect.stringMatching(/^QUEUE_FULL: client laptop has 12288 jobs .* limits of one client are 12288 jobs/),
    ]);
    bench.ask("other", "count", {}, "phone");
    bench.cancel("laptop0", "laptop");
    bench.ask("again", "count", {}, "laptop-2");
    expect(bench.ends).toEqual(["more: QUEUE_FULL", "laptop0: ACK"]);
  });

  test("by its connection, where nobody is known", () => {
    bench = new BrokerBench();
    bench.handle({ type: "tasks", tasks: [{ name: "count" }] });
    most("one");
    bench.ask("more", "count", {}, "one");
    bench.ask("other", "count", {}, "two");
    expect(messages()).toEqual([expect.stringMatching(/^QUEUE_FULL: this connection has 12288 jobs/)]);
  });
});
