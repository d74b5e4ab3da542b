import { expect, setDefaultTimeout, test } from "bun:test";
import { type CallOptions, connect, type EngineStatus, TaskEngineError } from "task-engine";
import { clientBytesMax, clientRequestsMax, frameBytesMax } from "../../src/limits.ts";
import { encodeMeta, packNow } from "../../src/protocol/frames.ts";
import { argsOf, cancelOf, commandOf, handRouter, untilFree } from "../support/hand-router.ts";
import { freePorts } from "../support/ports.ts";
import { rejection } from "../support/rejection.ts";

setDefaultTimeout(60_000); // on a busy machine

const someStatus: EngineStatus = {
  draining: false,
  stopped: null,
  security: "none",
  jobs: { accepted: 3, done: 1, retried: 0, failed: { TIMEOUT: 1 }, dropped: { lateAnswer: 2 }, waiting: 1, held: 1 },
  queue: { jobs: 1, bytes: 80 },
  tasks: [{ name: "count", workers: 1, waiting: 1, count: 1, p50Ms: 0.5, p99Ms: null }],
  workers: [
    { id: "TASK-1", role: "task", pid: 1, endpoint: "", supervised: false, language: null, held: 1, state: "busy" },
  ],
  locks: [],
  paused: [],
  journal: null,
  quarantined: [],
  troubles: [],
  resources: [{ name: "arm", holder: { task: "grip", serial: "ab-1", state: "held" }, waiting: 2 }],
  safings: [],
  sources: [],
  data: [],
  limits: { queueJobsMax: 16_384 },
};

/** Nothing listens there. */
const nowhere = (): string => `tcp://127.0.0.1:${freePorts(1)}`;

test("a call sends task, args and kwargs, and gives the result", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const result = client.call("drive", [1, "forward"], { speed: 0.5 });
  const arrived = await router.next();
  const { request } = arrived;
  if (request.kind !== "task") throw new Error("not a task");
  expect(request.meta).toMatchObject({ id: `CLIENT-${process.pid}`, role: "requestor", version: 0.2, type: "REQ" });
  expect(request.parts[0]?.task).toMatchObject({ task: "drive", args: [1, "forward"], kwargs: { speed: 0.5 } });
  arrived.ack({ driven: 1 });
  expect(await result).toEqual({ driven: 1 });
});

test("answers find their calls by serial, in whatever order they come", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const results = Promise.all(Array.from({ length: 500 }, (_, index) => client.call("echo", [index])));
  const arrived = [];
  for (let count = 0; count < 500; count++) arrived.push(await router.next());
  expect(new Set(arrived.map(({ serial }) => serial)).size).toBe(500);
  for (const one of arrived.reverse()) one.ack(argsOf(one)[0] ?? null);
  expect(await results).toEqual(Array.from({ length: 500 }, (_, index) => index));
});

test("an error carries the engine's code and message", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const failure = rejection(client.call("nope"));
  (await router.next()).refuse("UNKNOWN_TASK", "no task nope");
  expect(await failure).toMatchObject({ name: "TaskEngineError", code: "UNKNOWN_TASK", message: "no task nope" });
});

test("a request that timed out without a connection never reaches an engine that comes later", async () => {
  const endpoint = nowhere();
  await using client = connect(endpoint, { waitMs: 5_000 });
  expect((await rejection(client.call("drive", ["forward"], {}, { waitMs: 30 }))).code).toBe("NO_ANSWER");
  using router = handRouter(endpoint);
  const fresh = client.call("drive", ["back"]);
  const arrived = await router.next();
  expect(argsOf(arrived)).toEqual(["back"]);
  expect(router.hasMore).toBe(false);
  arrived.ack(null);
  await fresh;
});

test("requests that wait for a connection go out in their order once there is one", async () => {
  const endpoint = nowhere();
  await using client = connect(endpoint, { waitMs: 30_000 });
  const results = Promise.all([1, 2, 3].map((value) => client.call("echo", [value])));
  using router = handRouter(endpoint);
  for (const value of [1, 2, 3]) {
    const arrived = await router.next();
    expect(argsOf(arrived)).toEqual([value]);
    arrived.ack(value);
  }
  expect(await results).toEqual([1, 2, 3]);
});

test("what is asked while the engine is away is sent when it is back, and nothing older", async () => {
  let router = handRouter();
  const { endpoint } = router;
  await using client = connect(endpoint);
  const lost = rejection(client.call("drive", ["lost"]));
  await router.next();
  router[Symbol.dispose]();
  expect((await lost).code).toBe("INTERRUPTED");
  expect((await rejection(client.call("drive", ["stale"], {}, { waitMs: 20 }))).code).toBe("NO_ANSWER");
  router = await untilFree(() => handRouter(endpoint));
  using _ = router;
  const fresh = client.call("drive", ["fresh"]);
  const arrived = await router.next();
  expect(argsOf(arrived)).toEqual(["fresh"]);
  arrived.ack("done");
  expect(await fresh).toBe("done");
});

test("a call that is not answered in time is NO_ANSWER, and its late answer is dropped and counted", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const failure = rejection(client.call("slow", [], {}, { waitMs: 40 }));
  const late = await router.next();
  expect((await failure).message).toBe(
    `no answer from ${router.endpoint} within 40 ms: it was told to cancel the request, but may have been at work on it`,
  );
  late.ack("late");
  await cancelOf(router, late);
  const next = client.call("quick");
  (await router.next()).ack("quick");
  expect(await next).toBe("quick");
  expect(client.dropped).toEqual({ unknown: 1, malformed: 0 });
});

test("a second answer to the same request is dropped and counted", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const first = client.call("once");
  const arrived = await router.next();
  arrived.ack(1);
  arrived.ack(2);
  expect(await first).toBe(1);
  const next = client.call("next");
  (await router.next()).ack(3);
  await next;
  expect(client.dropped.unknown).toBe(1);
});

test("timeouts of many calls at once end the right ones", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  // Once it is connected, a call is sent at once, within any timeout.
  const first = client.call("first");
  (await router.next()).ack(null);
  await first;
  const short = Array.from({ length: 50 }, () => rejection(client.call("short", [], {}, { waitMs: 30 })));
  const long = Array.from({ length: 50 }, () => client.call("long", [], {}, { waitMs: 30_000 }));
  const arrived = [];
  for (let count = 0; count < 100; count++) arrived.push(await router.next());
  for (const { code } of await Promise.all(short)) expect(code).toBe("NO_ANSWER");
  for (let count = 0; count < 50; count++) expect((await router.next()).request.kind).toBe("cancel");
  for (const one of arrived) one.ack("late or not");
  expect(await Promise.all(long)).toEqual(Array(50).fill("late or not"));
  expect(client.dropped.unknown).toBe(50);
});

test("Infinity as a timeout waits, and one that is no time is refused", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const result = client.call("slow", [], {}, { waitMs: Number.POSITIVE_INFINITY });
  (await router.next()).ack(1);
  expect(await result).toBe(1);
  for (const waitMs of [0, -1, Number.NaN]) {
    expect((await rejection(client.call("count", [], {}, { waitMs }))).code).toBe("BAD_ARGS");
  }
});

test("malformed answers are counted and harm nobody else", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const result = client.call("count");
  const arrived = await router.next();
  for (const garbage of ["", "{", "[]", "null", '{"type":"ACK"}', "\xff\xfe"]) arrived.send(garbage);
  arrived.send();
  arrived.ack(5);
  expect(await result).toBe(5);
  expect(client.dropped).toEqual({ unknown: 0, malformed: 7 });
});

test("a malformed answer whose serial can be read rejects its request with BAD_FRAME", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const failure = rejection(client.call("count"));
  const arrived = await router.next();
  const meta = {
    id: "TASK-1",
    role: "responder",
    version: 0.2,
    type: "ACK",
    pack: packNow(),
    serial: arrived.serial,
  } as const;
  arrived.send(encodeMeta(meta), '{"date":5}');
  const { code, message } = await failure;
  expect(code).toBe("BAD_FRAME");
  expect(message).toContain("frame 2");
});

test("closing rejects what waits, what comes later, and ends subscriptions", async () => {
  using router = handRouter();
  const client = connect(router.endpoint);
  const waiting = rejection(client.call("slow"));
  await router.next();
  const reading = client.subscribe().next();
  await router.next();
  await client.close();
  expect((await router.next()).request.kind).toBe("cancel");
  expect((await waiting).code).toBe("CLOSED");
  expect(await reading).toEqual({ done: true, value: undefined });
  expect((await rejection(client.call("count"))).code).toBe("CLOSED");
  expect((await rejection(client.tasks())).code).toBe("CLOSED");
  await client.close();
});

test.each<[unknown[], object, string]>([
  [[Number.NaN], {}, "args[0] is NaN"],
  [[1, [undefined]], {}, "args[1][0] is undefined"],
  [[], { a: undefined }, "kwargs.a is undefined"],
  [[{ a: { b: undefined } }], {}, "args[0].a.b is undefined"],
  [[Object.assign([1], { toJSON: () => Number.NaN })], {}, "args[0] has a toJSON"],
  [[new Uint8Array(1)], {}, "args[0] is a Uint8Array"],
  [[], new Map([["speed", 1]]), "kwargs is a Map"],
  [[1n], {}, "args[0] is a bigint"],
  [[() => 1], {}, "args[0] is a function"],
  [[2 ** 53], {}, "args[0] is a whole number beyond"],
  [[new Date(0)], {}, "args[0] is a Date"],
  [[], { speed: Number.POSITIVE_INFINITY }, "kwargs.speed is Infinity"],
  [[], JSON.parse('{"__proto__": 1}'), "kwargs: the key __proto__ is not allowed"],
])("arguments that JSON cannot say are BAD_ARGS with their path: %p %p", async (args, kwargs, message) => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const failure = await rejection(client.call("count", args, kwargs));
  expect(failure.code).toBe("BAD_ARGS");
  expect(failure.message).toStartWith(message);
  // Nothing of it was sent: what comes first is what is asked next.
  const next = client.call("next");
  const arrived = await router.next();
  expect(arrived.request).toMatchObject({ parts: [{ name: "next" }] });
  arrived.ack(null);
  await next;
});

test("data that JSON cannot say is BAD_ARGS", async () => {
  await using client = connect(nowhere());
  expect(await rejection(client.publish("pose", { x: Number.NaN }, { confirm: true }))).toMatchObject({
    code: "BAD_ARGS",
    message: "data.x is NaN, which JSON cannot express",
  });
});

test("data that is missing, or a part of it, is BAD_ARGS, and what is asked for by undefined is not asked for", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const { message } = await rejection(client.publish("pose", undefined, { confirm: true }));
  expect(message).toBe("data is undefined, which JSON cannot express");
  expect((await rejection(client.publish("pose", { x: undefined }, { confirm: true }))).message).toStartWith(
    "data.x is undefined",
  );
  const call = client.call("drive", [], {}, {
    ttlMs: undefined,
    latest: { key: "wheels", abort: undefined },
  } as CallOptions);
  const arrived = await router.next();
  expect(arrived.request).toMatchObject({ parts: [{ task: { options: { latest: { key: "wheels" } } } }] });
  arrived.ack(null);
  await call;
});

test("an argument that says something else each time is sent as it was when it was checked", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  let reads = 0;
  const speed = {
    get speed(): number {
      return ++reads % 2 === 1 ? 1.5 : Number.NaN;
    },
  };
  const call = client.call("drive", [speed], speed);
  expect((await rejection(call)).message).toStartWith("kwargs.speed is NaN");
  const later = client.call("drive", [speed]);
  const arrived = await router.next();
  expect(argsOf(arrived)).toEqual([{ speed: 1.5 }]);
  arrived.ack(null);
  await later;
});

test("a request larger than a frame may be is TOO_LARGE", async () => {
  await using client = connect(nowhere());
  expect((await rejection(client.call("store", ["x".repeat(frameBytesMax)]))).code).toBe("TOO_LARGE");
});

test("a call beyond the number that may wait is QUEUE_FULL, and there is room again after answers", async () => {
  await using client = connect(nowhere(), { waitMs: 30_000 });
  const waiting = Array.from({ length: clientRequestsMax }, () => rejection(client.call("count")));
  expect((await rejection(client.call("count"))).code).toBe("QUEUE_FULL");
  await client.close();
  for (const { code } of await Promise.all(waiting)) expect(code).toBe("CLOSED");
});

test("calls beyond the bytes that may wait are QUEUE_FULL", async () => {
  await using client = connect(nowhere(), { waitMs: 30_000 });
  const large = "x".repeat(1_900_000);
  const fitting = Math.floor(clientBytesMax / 1_900_300);
  const waiting = Array.from({ length: fitting }, () => rejection(client.call("store", [large])));
  expect((await rejection(client.call("store", [large]))).code).toBe("QUEUE_FULL");
  await client.close();
  for (const { code } of await Promise.all(waiting)) expect(code).toBe("CLOSED");
});

test("tasks, status and get ask by CONTROL, and publish gives topic and data", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const tasks = client.tasks();
  const listing = await router.next();
  expect(commandOf(listing)).toBe("tasks");
  listing.ack({ tasks: [{ name: "count", workers: 2 }], data: [] });
  expect(await tasks).toEqual([{ name: "count", workers: 2 }]);

  const status = client.status();
  const asked = await router.next();
  expect(commandOf(asked)).toBe("status");
  asked.ack(someStatus);
  expect(await status).toEqual(someStatus);

  const value = client.get("pose");
  // Of an engine of version 0.2, whose data workers have no stream port.
  (await router.next()).ack({ tasks: [], data: ["tcp://127.0.0.1:1"] });
  const get = await router.next();
  expect(get.request).toMatchObject({ control: { command: "get", topic: "pose" } });
  get.ack({ topic: "pose", value: [1, 2], pack: 7 });
  expect((await value).toJSON()).toEqual({ topic: "pose", data: [1, 2], pack: 7 });

  const published = client.publish("pose", [3, 4], { confirm: true });
  const put = await router.next();
  expect(put.request).toMatchObject({ kind: "data", topic: "pose" });
  put.ack(null);
  expect(await published).toEqual({ seq: 0, epoch: "" });
});

test("an answer to CONTROL of another shape is BAD_FRAME", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const failure = rejection(client.tasks());
  (await router.next()).ack({ tasks: 5 });
  expect((await failure).code).toBe("BAD_FRAME");
});

test("an answer without DATA gives null", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const result = client.call("quiet");
  const arrived = await router.next();
  const meta = {
    id: "TASK-1",
    role: "responder",
    version: 0.2,
    type: "ACK",
    pack: packNow(),
    serial: arrived.serial,
  } as const;
  arrived.send(encodeMeta(meta));
  expect(await result).toBeNull();
});

test("an endpoint that cannot be one is refused at once", () => {
  for (const endpoint of [
    "",
    "localhost:9000",
    "http://localhost:9000",
    "tcp://localhost",
    "tcp://h:0",
    "tcp://h:65536",
  ]) {
    expect(() => connect(endpoint)).toThrow(TaskEngineError);
  }
});
