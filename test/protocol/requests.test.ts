import { describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { batchTasksMax, frameBytesMax, messageBytesMax, messageFramesMax, serialLengthMax } from "../../src/limits.ts";
import { encodeTaskRequest } from "../../src/protocol/encode-request.ts";
import { encodeMeta } from "../../src/protocol/frames.ts";
import { decodeReply, encodeReplyMeta } from "../../src/protocol/replies.ts";
import { type BadRequest, decodeRequest, type RequestMessage } from "../../src/protocol/requests.ts";
import { asReceived } from "../support/frames.ts";

setDefaultTimeout(60_000); // a busy machine computes slowly

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const meta = { id: "arm", role: "requestor", version: 0.1, type: "REQ", pack: 1700000000.5 };
const meta2 = { ...meta, version: 0.2, serial: "s-1" };
const task = { task: "count", args: [2, 3], kwargs: {}, pack: 1700000000.5 };
const data = { data: { x: 1 }, pack: 1700000000.5 };

const kindOf = (...frames: Buffer[]): RequestMessage["kind"] | "bad" => decodeRequest(frames).kind;
const errorOf = (...frames: Buffer[]): string => {
  const request = decodeRequest(frames);
  return request.kind === "bad" ? `${request.error.code} ${request.error.message}` : `no error, but ${request.kind}`;
};

describe("a request", () => {
  test("is a ping, a task or data by its frames", () => {
    expect(kindOf(json(meta))).toBe("ping");
    expect(kindOf(json(meta), json(task))).toBe("task");
    expect(kindOf(json(meta), json(data))).toBe("data");
    expect(kindOf(json({ ...meta2, type: "CONTROL" }), json({ data: { command: "tasks" }, pack: 1 }))).toBe("control");
  });

  test.each([0.1, "0.1", 0.2, "0.2"])("may have the version as %p", (version) => {
    expect(kindOf(json({ ...meta, version }), json(task))).toBe("task");
  });

  test.each(["count", "task_count", "TASK_count"])("names the task count as %s", (name) => {
    const request = decodeRequest([json(meta), json({ ...task, task: name })]);
    expect(request.kind === "task" && request.parts[0]?.name).toBe("count");
  });

  test("may have fields that this version does not know", () => {
    expect(kindOf(json({ ...meta, colour: "red" }), json({ ...task, mood: "good" }))).toBe("task");
  });

  test("has META's id as its topic in v0.1, and DATA's in v0.2 where there is one", () => {
    const topicOf = (frames: Buffer[]) => {
      const request = decodeRequest(frames);
      return request.kind === "data" ? request.topic : request.kind;
    };
    expect(topicOf([json(meta), json({ ...data, topic: "elbow" })])).toBe("arm");
    expect(topicOf([json(meta2), json({ ...data, topic: "elbow" })])).toBe("elbow");
    expect(topicOf([json(meta2), json(data)])).toBe("arm");
  });

  test("of v0.1 may have options of its own, which mean nothing, and of v0.2 only those that are kept", () => {
    const frame = json({ ...task, options: { hurry: true } });
    expect(kindOf(json(meta), frame)).toBe("task");
    expect(errorOf(json(meta2), frame)).toStartWith("BAD_FRAME TASK.options.hurry");
  });

  test("of v0.2 may be a batch", () => {
    const request = decodeRequest([json(meta2), json(task), json({ ...task, args: [4] })]);
    expect(request.kind === "task" && request.parts.map((part) => part.task.args)).toEqual([[2, 3], [4]]);
  });

  test("that was encoded decodes to what it was made of", () => {
    const name = fc.string({ minLength: 1, maxLength: 20 }).filter((text) => !/^(task|TASK)_/.test(text));
    const argument = fc.oneof(fc.string(), fc.integer(), fc.boolean(), fc.constant(null));
    fc.assert(
      fc.property(name, fc.array(argument), name, (task, args, serial) => {
        const request = decodeRequest(asReceived(encodeTaskRequest({ id: "me", serial }, task, args, {})));
        expect(request.kind === "task" && request.parts[0]?.task).toMatchObject({ task, args, kwargs: {} });
        expect(request.kind === "task" && request.meta.serial).toBe(serial);
      }),
    );
  });
});

describe("a message that is no request is answered with an error that names the frame and the field", () => {
  test.each<[string, Buffer[], string]>([
    ["no frames", [], "BAD_FRAME META: missing"],
    ["META is not JSON", [Buffer.from("hello")], "BAD_FRAME META: not JSON"],
    ["META is not UTF-8", [Buffer.from([0x7b, 0xff])], "BAD_FRAME META: not UTF-8"],
    ["META is a list", [json([1])], "BAD_FRAME META: a list, not an object"],
    ["META is null", [json(null)], "BAD_FRAME META: null, not an object"],
    ["META has no type", [json({ ...meta, type: undefined })], "BAD_FRAME META.type: Invalid key"],
    [
      "META's id is a number",
      [json({ ...meta, id: 7 })],
      "BAD_FRAME META.id: Invalid type: Expected string but received 7",
    ],
    ["META's pack is text", [json({ ...meta, pack: "now" })], "BAD_FRAME META.pack: Invalid type"],
    ["META's type is unknown", [json({ ...meta, type: "DANCE" })], 'BAD_FRAME META.type: "DANCE" is not one of REQ'],
    [
      "META's version is unknown",
      [json({ ...meta, version: 9 })],
      "UNSUPPORTED_VERSION META.version: 9 is not one of 0.1, 0.2, 0.3",
    ],
    [
      "the serial is too long",
      [json({ ...meta2, serial: "x".repeat(serialLengthMax + 1) })],
      "BAD_FRAME META.serial: Invalid length",
    ],
    ["TASK is not JSON", [json(meta), Buffer.from("{")], "BAD_FRAME frame 2: not JSON"],
    ["TASK is a number", [json(meta), json(3)], "BAD_FRAME frame 2: a number, not an object"],
    [
      "neither TASK nor DATA",
      [json(meta), json({ pack: 1 })],
      "BAD_FRAME frame 2: has neither `task` (TASK) nor `data` (DATA)",
    ],
    ["args is not a list", [json(meta), json({ ...task, args: "2 3" })], "BAD_FRAME TASK.args: Invalid type"],
    [
      "kwargs is a list",
      [json(meta), json({ ...task, kwargs: [] })],
      "BAD_FRAME TASK.kwargs: Invalid type: Expected Object",
    ],
    ["task is a number", [json(meta), json({ ...task, task: 5 })], "BAD_FRAME TASK.task: Invalid type"],
    [
      "a task is named twice",
      [json(meta), Buffer.from('{"task":"drive","task":"grip","args":[],"kwargs":{},"pack":1}')],
      'BAD_FRAME frame 2: value: the key "task" is there twice',
    ],
    [
      "a task is named twice, once with an escape, in a batch",
      [json(meta2), json(task), Buffer.from('{"task":"drive","t\\u0061sk":"grip","args":[],"kwargs":{},"pack":1}')],
      'BAD_FRAME frame 3: value: the key "task" is there twice',
    ],
    [
      "a named argument is there twice",
      [json(meta), Buffer.from('{"task":"drive","args":[],"kwargs":{"to":{"x":1,"x":2}},"pack":1}')],
      'BAD_FRAME frame 2: kwargs.to: the key "x" is there twice',
    ],
    [
      "META has a key twice",
      [Buffer.from('{"id":"a","role":"r","version":0.2,"type":"REQ","pack":1,"serial":"s","id":"b"}')],
      'BAD_FRAME META: value: the key "id" is there twice',
    ],
    [
      "DATA has a key twice",
      [json(meta), Buffer.from('{"data":1,"pack":1,"data":2}')],
      'BAD_FRAME frame 2: value: the key "data" is there twice',
    ],
    [
      "a command is there twice",
      [json({ ...meta2, type: "CONTROL" }), Buffer.from('{"data":{"command":"tasks","command":"reset"},"pack":1}')],
      'BAD_FRAME DATA: data: the key "command" is there twice',
    ],
    [
      "a key is the task's name to some languages",
      [json(meta), json({ ...task, Task: "drive" })],
      'BAD_FRAME frame 2: the key "Task" is task for some parsers, and not for others',
    ],
    [
      "a key is the task's name where letters are folded as Unicode has it",
      [json(meta), json({ ...task, "ta\u017f\u212a": "drive" })],
      'BAD_FRAME frame 2: the key "ta\u017f\u212a" is task for some',
    ],
    ["task is empty", [json(meta), json({ ...task, task: "" })], "BAD_FRAME TASK.task: is empty"],
    [
      "task is too long",
      [json(meta), json({ ...task, task: "x".repeat(129) })],
      "BAD_FRAME TASK.task: is longer than 128 characters",
    ],
    [
      "an argument is a large integer",
      [json(meta), Buffer.from('{"task":"count","args":[9007199254740993],"kwargs":{},"pack":1}')],
      "BAD_FRAME frame 2: args[0]: a whole number beyond",
    ],
    ["DATA has no pack", [json(meta), json({ data: 1 })], "BAD_FRAME DATA.pack: Invalid key"],
    ["v0.1 has a frame too many", [json(meta), json(task), json(task)], "BAD_FRAME frame 3: one too many"],
    ["v0.1 has CONTROL", [json({ ...meta, type: "CONTROL" }), json(data)], "BAD_FRAME META.type"],
    ["DATA among tasks", [json(meta2), json(task), json(data)], "BAD_FRAME frame 3: a DATA frame must be the only one"],
    ["a batch with a bad part", [json(meta2), json(task), json({ ...task, args: 1 })], "BAD_FRAME frame 3: TASK.args"],
    ["CONTROL without a command", [json({ ...meta2, type: "CONTROL" }), json(data)], "BAD_FRAME DATA.data.command"],
    [
      "CONTROL with an unknown command",
      [json({ ...meta2, type: "CONTROL" }), json({ data: { command: "fly" }, pack: 1 })],
      'UNKNOWN_COMMAND DATA.data.command: "fly" is not one of',
    ],
    ["an empty topic", [json({ ...meta, id: "" }), json(data)], "BAD_FRAME META.id: empty, and it is the topic"],
    [
      "a frame that is too large",
      [json(meta), Buffer.alloc(frameBytesMax + 1, "x")],
      `TOO_LARGE frame 2: ${frameBytesMax + 1} bytes`,
    ],
  ])("%s", (_name, frames, expected) => {
    expect(errorOf(...frames)).toStartWith(expected);
  });

  test("too many frames", () => {
    const part = json(task);
    expect(errorOf(json(meta2), ...Array<Buffer>(messageFramesMax).fill(part))).toStartWith("TOO_LARGE message");
    expect(kindOf(json(meta2), ...Array<Buffer>(batchTasksMax).fill(part))).toBe("task");
  });

  test("too many bytes, before any but META is decoded", () => {
    const parts = Array<Buffer>(messageBytesMax / frameBytesMax).fill(Buffer.alloc(frameBytesMax, "["));
    expect(errorOf(json(meta2), ...parts)).toStartWith("TOO_LARGE message");
  });

  const known = [0.2, "s-1"];
  const twice = '{"id":"a","id":"b","role":"r","version":0.2,"type":"REQ","pack":1,"serial":"s-1"}';
  const digits = '{"id":"a","role":"r","version":0.2,"type":"REQ","pack":12345678901234567890,"serial":"s-1"}';
  test.each<[string, Buffer[], unknown]>([
    ["an error about the body", [json(meta2), json({ ...task, args: 1 })], known],
    ["too many frames", [json(meta2), ...Array<Buffer>(messageFramesMax).fill(json(task))], known],
    ["too many frames of 0.1", [json(meta), ...Array<Buffer>(messageFramesMax).fill(json(task))], [0.1, undefined]],
    ["a body that is not JSON", [json(meta2), Buffer.from("{")], known],
    ["a body that is not UTF-8", [json(meta2), Buffer.from([0xff])], known],
    ["a frame that is too large", [json(meta2), Buffer.alloc(frameBytesMax + 1, " ")], known],
    ["a type that is not known", [json({ ...meta2, type: "DANCE" })], known],
    [
      "a command that is not known",
      [json({ ...meta2, type: "CONTROL" }), json({ data: { command: "fly" }, pack: 1 })],
      known,
    ],
    ["a newer version", [json({ ...meta2, version: 0.4 }), json(task)], known],
    ["a newer version as text", [json({ ...meta2, version: "1.0" }), json(task)], known],
    ["an error of version 0.3", [json({ ...meta2, version: 0.3, type: undefined })], [0.3, "s-1"]],
    ["a newer version, and no serial", [json({ ...meta, version: 0.4 }), json(task)], [0.2, undefined]],
    ["no version, and a serial", [json({ ...meta2, version: undefined })], known],
    ["no version, and no serial", [json({ ...meta, version: undefined })], null],
    ["a version that is no text", [json({ ...meta2, version: { toString: null, valueOf: 1 } })], known],
    ["a version and a serial that are lists", [json({ ...meta2, version: [0.1], serial: ["s-1"] })], null],
    ["no type", [json({ ...meta2, type: undefined })], known],
    ["a role that is a number", [json({ ...meta2, role: 1 })], known],
    ["no pack", [json({ ...meta2, pack: undefined })], known],
    ["no pack, of 0.1 with a serial", [json({ ...meta2, version: 0.1, pack: undefined })], [0.1, undefined]],
    ["an id that is too long", [json({ ...meta2, id: "x".repeat(200) })], known],
    ["a serial that is too long", [json({ ...meta2, serial: "x".repeat(serialLengthMax + 1) })], [0.2, undefined]],
    ["a serial that is a number", [json({ ...meta2, serial: 5 })], [0.2, undefined]],
    ["a key that is there twice", [Buffer.from(twice)], known],
    ["a number that loses digits", [Buffer.from(digits)], known],
    ["no object", [json([1])], null],
    ["no JSON", [Buffer.from("hello")], null],
    ["null", [json(null)], null],
  ])("%s is answered with as much of META as could be read", (_what, frames, meta) => {
    const request = decodeRequest(frames) as BadRequest;
    expect(request.kind).toBe("bad");
    const read: unknown = request.meta === null ? null : [request.meta.version, request.meta.serial];
    expect(read).toEqual(meta);
  });
});

test("any frames give a request or an error, and never an exception", () => {
  const frame = fc.oneof(
    fc.uint8Array({ maxLength: 60 }),
    fc.jsonValue().map(json),
    fc
      .record({ ...Object.fromEntries(Object.keys(meta2).map((key) => [key, fc.jsonValue()])) }, { requiredKeys: [] })
      .map(json),
    fc.constant(json(meta)),
    fc.constant(json(meta2)),
    fc.constant(json(task)),
  );
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 5 }), (frames) => {
      expect(["bad", "ping", "task", "data", "control"]).toContain(decodeRequest(frames).kind);
      expect(decodeReply(frames)).toBeDefined();
    }),
    { numRuns: 3000 },
  );
});

describe("a reply", () => {
  test("to v0.1 has no serial", () => {
    expect(JSON.parse(encodeReplyMeta("TASK-7", "ACK", 0.1, "s"))).toEqual({
      id: "TASK-7",
      role: "responder",
      version: 0.1,
      type: "ACK",
      pack: expect.any(Number),
    });
  });

  test("carries a result or an error", () => {
    const ack = decodeReply(asReceived([encodeReplyMeta("TASK-7", "ACK", 0.2, "s"), json({ data: 5, pack: 1 })]));
    expect(ack).toMatchObject({ kind: "ack", data: 5, meta: { serial: "s" } });
    const error = decodeReply(
      asReceived([
        encodeReplyMeta("TASK-7", "ERR", 0.2, "s"),
        json({ data: { code: "TASK_ERROR", message: "no" }, pack: 1 }),
      ]),
    );
    expect(error).toMatchObject({ kind: "error", error: { code: "TASK_ERROR", message: "no" } });
  });

  test("of an unknown type is a protocol error", () => {
    expect(decodeReply([encodeMeta({ ...meta, version: 0.2, type: "WHAT" })])).toMatchObject({ code: "BAD_FRAME" });
  });
});
