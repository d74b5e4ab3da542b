/** The engine's own topics: what is an event of each, and that nothing is one without a subscriber. */
import { beforeEach, describe, expect, test } from "bun:test";
import { Broker } from "../../src/broker/broker.ts";
import { resourceEventMs } from "../../src/limits.ts";
import { type RouterTopic, routerTopics } from "../../src/protocol/engine-topics.ts";
import { encodeData, packNow } from "../../src/protocol/frames.ts";
import { engineUser } from "../../src/security/access.ts";
import { BrokerBench } from "../support/broker-bench.ts";

let bench: BrokerBench;
beforeEach(() => {
  bench = new BrokerBench();
});

const watch = (...topics: RouterTopic[]): void => {
  if (!bench.headersOf("data").some(({ type }) => type === "WELCOME")) bench.dataWorker("data");
  bench.say("data", { type: "WATCHED", topics });
  bench.events.length = 0;
};

/** The events of a topic, without their times, each as these of its keys. */
const eventsOf = (topic: RouterTopic, ...keys: string[]): unknown[] =>
  bench.events
    .filter((event) => event.topic === topic)
    .map(({ data }) => (keys.length === 1 ? data[keys[0] ?? ""] : keys.map((key) => data[key])));

/** A day on which everything happens that is an event of some topic. */
const live = (): void => {
  bench.ready("w1", ["count", { name: "drive", resources: ["motors"], onStop: true }]);
  bench.ask("a", "count");
  bench.done("w1", 1);
  bench.ask("b", "drive");
  bench.say("w1", { type: "PROGRESS", job: 2 }, [encodeData({ metres: 1 })]);
  bench.estop("a hand");
  bench.die("w1", 2);
  bench.reset();
  bench.handle({ type: "log", process: "supervisor 1", lines: [line("starting")], lost: 0 });
  bench.ready("w2", ["count"]);
  bench.say("w2", { type: "LEAVE" });
  bench.handle({ type: "tasks", tasks: [{ name: "blink", moves: false, everyMs: 1000 }] });
  bench.pass(1100);
};

const line = (text: string, job: number | null = null) => ({ at: 1, level: "info" as const, text, job });

test("a broker without subscribers makes no event of anything", () => {
  bench.dataWorker("data");
  live();
  bench.say("data", { type: "WATCHED", topics: [] });
  expect(bench.events).toEqual([]);
  expect(bench.wishes).not.toContain("watchLog");
});

test("a broker makes events of the topics that are followed, and of no other", () => {
  for (const topic of routerTopics) {
    bench = new BrokerBench();
    watch(topic);
    live();
    expect(new Set(bench.events.map((event) => event.topic))).toEqual(new Set([topic]));
    bench.say("data", { type: "WATCHED", topics: [] });
    bench.events.length = 0;
    live();
    expect(bench.events).toEqual([]);
  }
});

describe("$engine/jobs", () => {
  test("shows a job's life: accepted, running, its progress, and its end with run time and worker", () => {
    watch("$engine/jobs");
    bench.ready("w1", ["count"]);
    bench.ask("a", "count", {}, "laptop");
    bench.say("w1", { type: "PROGRESS", job: 1 }, [encodeData({ done: 1 })]);
    bench.done("w1", 1);
    const same = { at: expect.any(Number), job: "aaaaaaaaaaaaaaab", serial: "a", task: "count", requestor: "laptop" };
    expect(bench.events.map(({ data }) => data)).toEqual([
      { event: "accepted", ...same },
      { event: "running", ...same, worker: "TASK-1" },
      { event: "progress", ...same, worker: "TASK-1", progress: { done: 1 } },
      { event: "ended", ...same, worker: "TASK-1", ms: 0.1, code: null, message: null },
    ]);
  });

  test("has one end for each job, with the code of its terminal reply", () => {
    watch("$engine/jobs");
    bench.ready("w1", ["count", { name: "see", idempotent: true }]);
    bench.ask("done", "count");
    bench.done("w1", 1);
    bench.ask("failed", "count");
    bench.fail("w1", 2);
    bench.ask("cancelled", "count");
    bench.cancel("cancelled");
    bench.fail("w1", 3, "CANCELLED");
    bench.ask("interrupted", "count");
    bench.ask("expired", "count", { ttlMs: 10 });
    bench.ask("deserted", "count");
    bench.pass(20);
    bench.die("w1", 4);
    bench.lose("requestor");
    expect(
      eventsOf("$engine/jobs", "event", "serial", "code", "worker").filter((it) => `${it}`.startsWith("ended")),
    ).toEqual([
      ["ended", "done", null, "TASK-1"],
      ["ended", "failed", "TASK_ERROR", "TASK-1"],
      ["ended", "cancelled", "CANCELLED", "TASK-1"],
      ["ended", "interrupted", "INTERRUPTED", null],
      ["ended", "expired", "EXPIRED", null],
      ["ended", "deserted", "CANCELLED", null],
    ]);
  });

  test("shows each part of a batch, each run of a job that is tried again, and no data, get or safe stop", () => {
    watch("$engine/jobs");
    bench.ready("w1", [
      { name: "see", idempotent: { onError: true } },
      { name: "drive", onStop: true },
    ]);
    bench.put("value", "battery", 1);
    bench.batch("parts", ["see", "drive"]);
    bench.fail("w1", 2);
    bench.failUnsafe("w1", 3);
    bench.made("w1", "safe");
    bench.pass(1000);
    bench.done("w1", 2);
    const seen = eventsOf("$engine/jobs", "event", "task").map(String);
    expect(seen.filter((it) => it.endsWith("see"))).toEqual([
      "accepted,see",
      "running,see",
      "running,see",
      "ended,see",
    ]);
    expect(seen.filter((it) => it.endsWith("drive"))).toEqual(["accepted,drive", "running,drive", "ended,drive"]);
    expect(seen).toHaveLength(7);
  });

  test("names the requestor by its key where there are keys, and one of version 0.1 without them by nothing", () => {
    watch("$engine/jobs");
    bench.ready("w1", ["count"]);
    bench.askOld("count");
    expect(eventsOf("$engine/jobs", "requestor", "serial")[0]).toEqual([null, ""]);
    bench.users.set("w1", engineUser).set("data", engineUser).set("who", "laptop");
    bench = Object.assign(new BrokerBench(), { users: bench.users });
    bench.authorize("laptop send");
    watch("$engine/jobs");
    bench.ready("w1", ["count"]);
    bench.ask("a", "count", {}, "who");
    expect(eventsOf("$engine/jobs", "requestor")).toEqual(["laptop", "laptop"]);
  });

  test("leaves out a long report of progress, and one that no worker of the engine could have sent", () => {
    watch("$engine/jobs");
    bench.ready("w1", ["count"]);
    bench.askOld("count");
    for (const body of [encodeData("x".repeat(5000)), "{", "[]"]) bench.say("w1", { type: "PROGRESS", job: 1 }, [body]);
    expect(eventsOf("$engine/jobs", "progress").slice(2)).toEqual([null, null, null]);
  });

  test("gives each job an id of 16 characters, which no other router gives again", () => {
    const idsOf = (random: number, firstJob: number): string[] => {
      const broker = new Broker({
        ...{ id: "ROUTER-1", random: () => random, wallSeconds: packNow, security: "none", stopGraceMs: 1, firstJob },
      });
      bench = Object.assign(new BrokerBench(), { broker });
      watch("$engine/jobs");
      bench.ready("w1", ["count"]);
      bench.ask("a", "count");
      bench.ask("b", "count");
      return [...new Set(eventsOf("$engine/jobs", "job"))] as string[];
    };
    const ids = [...idsOf(0, 1), ...idsOf(0.999, 1), ...idsOf(0.5, Number.MAX_SAFE_INTEGER - 2), ...idsOf(0, 2 ** 50)];
    expect(new Set(ids).size).toBe(8);
    for (const id of ids) expect(id).toMatch(/^[a-z2-7]{16}$/);
  });
});

test("$engine/workers shows who comes, leaves, is lost, is killed and is refused, and why", () => {
  bench.users.set("w1", engineUser).set("w2", engineUser).set("data", engineUser).set("arm", "arm");
  bench.authorize("laptop send", "arm worker:grip");
  watch("$engine/workers");
  bench.ready("w1", [{ name: "count", timeoutMs: 10 }]);
  bench.ready("w2", ["count"]);
  bench.ready("arm", ["drive"]);
  bench.say("w2", { type: "LEAVE" });
  bench.users.set("who", "laptop");
  bench.ask("a", "count", {}, "who");
  bench.handle({ type: "killed", pid: 1, why: "the engine is stopped" });
  bench.passWith(["data"], 600);
  bench.die("w1", 1);
  expect(eventsOf("$engine/workers", "event", "worker", "why")).toEqual([
    ["ready", "TASK-1", null],
    ["ready", "TASK-2", null],
    ["refused", "TASK-1", "client arm lacks the right worker:drive"],
    ["leaving", "TASK-2", null],
    ["left", "TASK-2", null],
    ["killed", "TASK-1", "the engine is stopped"],
    ["killed", "TASK-1", "count did not let go after TIMEOUT"],
    ["lost", "TASK-1", "its process has died"],
  ]);
});

describe("$engine/stop", () => {
  const stops = (): unknown[] =>
    bench.events.map(({ data: { at: _, ...event } }) => JSON.stringify(event).replace(/"since":[\d.]+/, '"since":0'));
  const none = '{"stopped":null,"durable":null,"why":null}';
  const hand = '{"stopped":{"reason":"a hand","since":0},"durable":';

  test("shows a stop, whether it is on the disk, and its end, each once", () => {
    watch("$engine/stop");
    bench.latchFailure = undefined;
    bench.estop("a hand");
    bench.latched(bench.lastRequest, "EROFS");
    bench.estop("a second hand");
    bench.latched(bench.lastRequest, null);
    bench.pass(1000);
    bench.reset();
    expect(stops()).toEqual([
      `${hand}false,"why":"the supervisor has not said yet that it is on the disk"}`,
      `${hand}false,"why":"EROFS"}`,
      `${hand}true,"why":null}`,
      none,
    ]);
  });

  test("tells each first subscriber what holds, also after a time without any", () => {
    bench.dataWorker("data");
    bench.estop("a hand");
    for (const topics of [["$engine/stop"], [], ["$engine/stop", "$engine/jobs"], ["$engine/stop"]]) {
      bench.say("data", { type: "WATCHED", topics });
    }
    bench.say("data", { type: "WATCHED", topics: [] });
    bench.reset();
    bench.say("data", { type: "WATCHED", topics: ["$engine/stop"] });
    expect(stops()).toEqual([`${hand}true,"why":null}`, `${hand}true,"why":null}`, none]);
  });
});

test("$engine/resources shows the newest state of each, a little later, and nothing of a short hold", () => {
  watch("$engine/resources");
  bench.ready("w1", ["count", { name: "drive", resources: ["motors"], onStop: true }], { supervised: false });
  const states = (): unknown[] => {
    bench.events.length = 0;
    bench.pass(resourceEventMs);
    return eventsOf("$engine/resources", "name", "state", "holder", "waiting");
  };
  bench.ask("a", "drive");
  bench.ask("b", "drive");
  expect(states()).toEqual([["motors", "held", { task: "drive", serial: "a" }, 1]]);
  bench.failUnsafe("w1", 1);
  expect(states()).toEqual([["motors", "safing", { task: "drive", serial: "" }, 1]]);
  bench.made("w1", "unsafe");
  bench.pass(100);
  bench.made("w1", "unsafe");
  bench.pass(200);
  bench.made("w1", "unsafe");
  expect(states()).toEqual([["motors", "unsafe", { task: "drive", serial: "" }, 0]]);
  bench.reset();
  bench.made("w1", "safe");
  expect(states()).toEqual([["motors", "free", null, 0]]);
  bench.ask("c", "drive");
  bench.done("w1", bench.jobsOf("w1").at(-1) ?? 0);
  bench.ask("d", "count");
  expect(states()).toEqual([["motors", "free", null, 0]]);
  expect(states()).toEqual([]);
});

test("$engine/log passes lines on with the id of the job that wrote them, and is asked for only while followed", () => {
  watch("$engine/log");
  bench.handle({ type: "log", process: "task worker 7", lines: [line("hello", 1), line("bye")], lost: 3 });
  expect(bench.events).toMatchObject([
    { data: { at: 1, level: "info", process: "task worker 7", job: "aaaaaaaaaaaaaaab", text: "hello" }, lost: 3 },
    { data: { job: null, text: "bye" }, lost: 0 },
  ]);
  watch("$engine/log", "$engine/jobs");
  expect(bench.logWishes).toEqual([true]);
  watch();
  expect(bench.logWishes).toEqual([true, false]);
});

describe("of several data workers", () => {
  const secondWorker = (): void =>
    bench.ready("data2", [], { role: "data", id: "DATA-2", pid: 2, endpoint: "tcp://127.0.0.1:10003" });
  const count = (): number => {
    bench.events.length = 0;
    bench.ask(`${Math.random()}`, "count");
    return bench.events.length;
  };

  test("the one that the topic belongs to publishes its events, so that each comes once", () => {
    bench.ready("w1", ["count"]);
    bench.dataWorker("data");
    secondWorker();
    for (const key of ["data", "data2"]) bench.say(key, { type: "WATCHED", topics: ["$engine/jobs"] });
    expect(count()).toBe(2);
    bench.done("w1", 1);
    const owner = bench.events[0]?.key ?? "";
    bench.say(owner, { type: "WATCHED", topics: [] });
    expect(count()).toBe(0);
  });

  test("none publishes after its loss, until it says anew what is followed", () => {
    bench.ready("w1", ["count"]);
    watch("$engine/jobs");
    expect(count()).toBe(2);
    bench.handle({ type: "disconnected", key: "data" });
    expect(count()).toBe(0);
    bench.dataWorker("data");
    expect(count()).toBe(0);
    watch("$engine/jobs");
    expect(count()).toBe(1);
  });
});

test("a data worker from elsewhere gets the events that its key may read, and a task worker none", () => {
  bench.users.set("data", "store").set("w1", engineUser).set("who", "laptop");
  bench.authorize("store worker read:$engine/workers", "laptop send");
  watch("$engine/jobs", "$engine/workers");
  bench.ready("w1", ["count"]);
  bench.ask("a", "count", {}, "who");
  expect(eventsOf("$engine/jobs", "event")).toEqual([]);
  expect(eventsOf("$engine/workers", "event")).toEqual(["ready"]);
  watch();
  bench.say("w1", { type: "WATCHED", topics: ["$engine/jobs"] });
  bench.ask("b", "count", {}, "who");
  expect(bench.events).toEqual([]);
});
