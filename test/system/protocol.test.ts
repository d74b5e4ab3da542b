/** Protocol v0.1 to the letter, and what is no protocol at all, at the real router and a real worker's own port. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { frameBytesHardMax, frameBytesMax } from "../../src/limits.ts";
import { type Engine, startEngine } from "../support/engine.ts";
import { dealerTo, json, metaFrame, requestTo, taskFrame } from "../support/raw-requestor.ts";

setDefaultTimeout(120_000); // on a busy machine

let engine: Engine;
beforeAll(async () => {
  engine = await startEngine();
});
afterAll(() => engine[Symbol.asyncDispose]());

const named = { version: 0.2, serial: "mine" };
const places = [
  ["the router", () => engine.endpoint],
  ["a worker's own port", () => `tcp://127.0.0.1:${engine.ports.worker}`],
] as const;

describe.each(places)("%s", (place, endpoint) => {
  test.each(["count", "task_count", "TASK_count"])("answers a v0.1 request for %s with META alone", async (task) => {
    using requestor = requestTo(endpoint());
    requestor.send(metaFrame(), taskFrame([2, 3], { task }));
    const { meta, data } = await requestor.reply();
    expect(meta).toEqual({
      type: "ACK",
      role: "responder",
      version: 0.1,
      id: expect.stringMatching(/^TASK-\d+$/),
      pack: expect.any(Number),
    });
    expect(engine.pidsOf("task worker")).toContain(Number(String(meta.id).slice(5)));
    expect(data).toBeUndefined();
  });

  test("acknowledges a ping", async () => {
    using requestor = requestTo(endpoint());
    requestor.send(metaFrame());
    expect((await requestor.reply()).meta).toMatchObject({ type: "ACK", role: "responder", version: 0.1 });
  });

  test("answers a v0.2 request with its serial and the result", async () => {
    using requestor = dealerTo(endpoint());
    requestor.send("", metaFrame({ version: 0.2, serial: "s-1" }), taskFrame());
    expect(await requestor.reply()).toMatchObject({ meta: { type: "ACK", version: 0.2, serial: "s-1" }, data: 5 });
  });

  test("carries an argument of a megabyte there and back", async () => {
    using requestor = dealerTo(endpoint());
    requestor.send("", metaFrame({ version: 0.2, serial: "big" }), taskFrame(["x".repeat(1_000_000)]));
    const { meta, data } = await requestor.reply();
    // `count` adds numbers: that it names the argument shows that it got it whole.
    expect(meta.type).toBe("ERR");
    expect(data).toMatchObject({ code: "TASK_ERROR" });
  });

  test.each<[string, (Uint8Array | string)[], string, RegExp]>([
    ["no META", [""], "BAD_FRAME", /^META: missing/],
    ["META that is not JSON", ["", "hello"], "BAD_FRAME", /^META: not JSON/],
    ["META that is not UTF-8", ["", Buffer.from([0xff, 0xfe])], "BAD_FRAME", /^META: not UTF-8/],
    ["META that is no object", ["", "[]"], "BAD_FRAME", /^META: a list, not an object/],
    [
      "META without pack",
      ["", json({ id: "x", role: "requestor", version: 0.1, type: "REQ" })],
      "BAD_FRAME",
      /^META\.pack/,
    ],
    ["META with a number as id", ["", metaFrame({ id: 5 })], "BAD_FRAME", /^META\.id/],
    ["an unknown type", ["", metaFrame({ type: "JUMP" }), taskFrame()], "BAD_FRAME", /^META\.type: "JUMP"/],
    ["an unknown version", ["", metaFrame({ version: 7 }), taskFrame()], "UNSUPPORTED_VERSION", /^META\.version: 7/],
    ["args that are no list", ["", metaFrame(), taskFrame([], { args: 3 })], "BAD_FRAME", /^TASK\.args/],
    ["kwargs that are a list", ["", metaFrame(), taskFrame([], { kwargs: [] })], "BAD_FRAME", /^TASK\.kwargs/],
    ["neither TASK nor DATA", ["", metaFrame(), "{}"], "BAD_FRAME", /^frame 2: has neither/],
    ["a frame too many", ["", metaFrame(), taskFrame(), taskFrame()], "BAD_FRAME", /^frame 3/],
    [
      "5,000 frames",
      ["", metaFrame({ version: 0.2 }), ...Array<string>(5000).fill("{}")],
      "TOO_LARGE",
      /^message: more than/,
    ],
    [
      "a frame over the limit",
      ["", metaFrame(), Buffer.alloc(frameBytesMax + 1, " ")],
      "TOO_LARGE",
      /^frame 2: \d+ bytes/,
    ],
    ["no delimiter", [metaFrame(), taskFrame()], "BAD_FRAME", /^envelope: the empty delimiter/],
    ["a task that is not registered", ["", metaFrame(), taskFrame([], { task: "fly" })], "UNKNOWN_TASK", /"fly"/],
    [
      "NaN as an argument",
      ["", metaFrame(), '{"task":"count","args":[NaN],"kwargs":{},"pack":1}'],
      "BAD_FRAME",
      /^frame 2: not JSON/,
    ],
    [
      "__proto__ as a key",
      ["", metaFrame(), '{"task":"count","args":[],"kwargs":{"__proto__":1},"pack":1}'],
      "BAD_FRAME",
      /__proto__/,
    ],
    [
      "a whole number that a double cannot hold",
      ["", metaFrame(), '{"task":"count","args":[9007199254740993],"kwargs":{},"pack":1}'],
      "BAD_FRAME",
      /args\[0\]/,
    ],
  ])("answers %s with an error that says where, and serves on", async (_what, frames, code, message) => {
    using requestor = dealerTo(endpoint());
    requestor.send(...frames);
    const { meta, data } = await requestor.reply();
    expect(meta).toMatchObject({ type: "ERR", role: "responder" });
    expect(data).toEqual({ code, message: expect.stringMatching(message) });
    requestor.send("", metaFrame({ version: 0.2, serial: "after" }), taskFrame());
    expect(await requestor.reply()).toMatchObject({ meta: { type: "ACK" }, data: 5 });
  });

  const twice = '{"task":"fly","t\\u0061sk":"count","args":[2,3],"kwargs":{},"pack":1}';
  test.each<[string, (Uint8Array | string)[], string, RegExp]>([
    [
      "1,001 parts",
      ["", metaFrame(named), ...Array<Uint8Array>(1001).fill(taskFrame())],
      "TOO_LARGE",
      /^message: more/,
    ],
    [
      "version 0.4",
      ["", metaFrame({ ...named, version: 0.4 }), taskFrame()],
      "UNSUPPORTED_VERSION",
      /0\.4.*0\.1, 0\.2, 0\.3/,
    ],
    ["version 1.0 alone", ["", metaFrame({ ...named, version: "1.0" })], "UNSUPPORTED_VERSION", /"1\.0".*0\.1, 0\.2/],
    ["a META without a type", ["", metaFrame({ ...named, type: undefined }), taskFrame()], "BAD_FRAME", /^META\.type/],
    ["a message without the delimiter", [metaFrame(named), taskFrame()], "BAD_FRAME", /^envelope/],
    ["a task that is named twice", ["", metaFrame(named), twice], "BAD_FRAME", /the key "task" is there twice/],
  ])("answers %s under its serial, in version 0.2", async (_what, frames, code, message) => {
    using requestor = dealerTo(endpoint());
    requestor.send(...frames);
    const { meta, data } = await requestor.reply();
    expect(meta).toMatchObject({ type: "ERR", version: 0.2, serial: "mine" });
    expect(data).toEqual({ code, message: expect.stringMatching(message) });
  });

  test(`cuts off who sends more than ${frameBytesHardMax} bytes in a frame, and serves the others`, async () => {
    using hostile = dealerTo(endpoint());
    using honest = dealerTo(endpoint());
    hostile.send("", metaFrame(), Buffer.alloc(frameBytesHardMax + 1, " "));
    honest.send("", metaFrame({ version: 0.2, serial: "1" }), taskFrame());
    expect(await honest.reply()).toMatchObject({ data: 5 });
    hostile.send("", metaFrame({ version: 0.2, serial: "2" }), taskFrame());
    expect(await hostile.reply()).toMatchObject({ data: 5 });
    expect(place).toBeString();
  });
});

test("a v0.1 failure is ERR with a code and a message", async () => {
  using requestor = requestTo(engine.endpoint);
  requestor.send(metaFrame(), taskFrame(["two"]));
  const { meta, data } = await requestor.reply();
  expect(meta).toMatchObject({ type: "ERR", version: 0.1, id: expect.stringMatching(/^TASK-\d+$/) });
  expect(data).toEqual({ code: "TASK_ERROR", message: expect.stringContaining("two") });
});

test("a v0.1 value is acknowledged by META alone, in the form of a task's", async () => {
  using requestor = requestTo(engine.endpoint);
  requestor.send(metaFrame({ id: "elbow" }), json({ data: { angle: 30 }, pack: 1 }));
  const { meta, data } = await requestor.reply();
  expect(meta).toMatchObject({ type: "ACK", role: "responder", version: 0.1, id: expect.stringMatching(/^TASK-\d+$/) });
  expect(data).toBeUndefined();
});

test("what is asked of a worker's own port that only the router does is refused", async () => {
  using requestor = dealerTo(`tcp://127.0.0.1:${engine.ports.worker}`);
  requestor.send("", metaFrame({ version: 0.2, serial: "1" }), json({ data: 1, pack: 1 }));
  expect(await requestor.reply()).toMatchObject({ meta: { type: "ERR" }, data: { code: "UNAVAILABLE" } });
});
