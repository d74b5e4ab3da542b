/** Results that are not JSON, and who can take them. */
import { beforeEach, expect, test } from "bun:test";
import { frameBytesMax } from "../../src/limits.ts";
import { BrokerBench } from "../support/broker-bench.ts";

const jpeg = { contentType: "image/jpeg" };
const bytes = Buffer.from([0xff, 0xd8, 0xff, 0, 0x7b]);
const why =
  "the result is image/jpeg; only a request of version 0.3 outside a batch can take it " +
  "({ binary: true } in the TypeScript client)";

let bench: BrokerBench;
beforeEach(() => {
  bench = new BrokerBench();
  bench.ready("w1", ["photo"]);
});

test("a request of 0.3 gets the bytes as they are, and in META how to read them", () => {
  const type = { contentType: "application/octet-stream", dtype: "uint16", shape: [1, 2] } as const;
  bench.askBinary("photo", "photo");
  bench.askBinary("array", "photo");
  bench.doneBinary("w1", 1, jpeg, bytes);
  bench.doneBinary("w1", 2, type, bytes.subarray(0, 4));
  const meta = { id: "TASK-1", version: 0.3, type: "ACK" };
  expect(bench.answers).toMatchObject([
    { reply: { kind: "binary", meta: { ...meta, serial: "photo" }, type: jpeg, bytes } },
    { reply: { kind: "binary", meta: { ...meta, serial: "array" }, type, bytes: bytes.subarray(0, 4) } },
  ]);
  expect(bench.status.jobs).toMatchObject({ done: 2, failed: {} });
});

test("a request of 0.3 gets JSON as one of 0.2 does, and errors in its version", () => {
  bench.ready("w2", ["count"]);
  bench.askBinary("json", "count");
  bench.askBinary("none", "dance");
  bench.done("w2", 1);
  expect(bench.answers).toMatchObject([
    { reply: { kind: "error", meta: { version: 0.3, serial: "none" }, error: { code: "UNKNOWN_TASK" } } },
    { reply: { kind: "ack", meta: { version: 0.3, serial: "json" }, data: "result 1" } },
  ]);
});

test("a request of 0.2 gets TASK_ERROR, which counts as one, and says how to ask", () => {
  bench.ask("a", "photo");
  bench.doneBinary("w1", 1, jpeg, bytes);
  expect(bench.answers).toMatchObject([
    { reply: { kind: "error", meta: { id: "TASK-1", version: 0.2 }, error: { code: "TASK_ERROR", message: why } } },
  ]);
  expect(bench.status.jobs).toMatchObject({ done: 0, failed: { TASK_ERROR: 1 } });
});

test("a request of 0.1, which gets no results, is acknowledged as ever", () => {
  bench.askOld("photo");
  bench.doneBinary("w1", 1, jpeg, bytes);
  expect(bench.answers).toMatchObject([{ reply: { kind: "ack", meta: { version: 0.1 }, data: undefined } }]);
});

test("a binary part of a batch is an error, and the other parts have their results", () => {
  bench.batch("b", ["photo", "photo"]);
  bench.done("w1", 1);
  bench.doneBinary("w1", 2, jpeg, bytes);
  const parts = [{ data: "result 1" }, { error: { code: "TASK_ERROR", message: why } }];
  expect(bench.answers).toMatchObject([{ reply: { kind: "batch", parts } }]);
});

test("a job that was told to end has that end, also where its result is binary", () => {
  bench.askBinary("a", "photo");
  bench.cancel("a");
  bench.doneBinary("w1", 1, jpeg, bytes);
  expect(bench.ends).toEqual(["a: CANCELLED"]);
});

test.each([
  ["of another length than its shape", { contentType: "application/octet-stream", dtype: "int8", shape: [4] }, bytes],
  ["with a dtype that fits no image", { contentType: "image/jpeg", dtype: "int8" }, bytes],
  ["of too many bytes", jpeg, Buffer.alloc(frameBytesMax + 1)],
] as const)("a binary result %s is the error of its worker", (_what, type, body) => {
  bench.askBinary("a", "photo");
  bench.doneBinary("w1", 1, type, body);
  expect(bench.ends).toEqual(["a: TASK_ERROR"]);
});
