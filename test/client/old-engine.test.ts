/** A client of an engine that speaks version 0.1 only: whatever it is asked, it answers with META alone, and without a serial. */
import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { connect } from "task-engine";
import { Router } from "../../src/transport/zmq/socket.ts";
import { runCommand } from "../support/engine.ts";
import { taskEngine } from "../support/executable.ts";
import { rejection } from "../support/rejection.ts";

setDefaultTimeout(60_000); // on a busy machine

const socket = new Router({ linger: 0 });
socket.bind("tcp://127.0.0.1:*");
const endpoint = socket.lastEndpoint;
/** META and what follows it of every message that has come. */
const asked: string[][] = [];
const serve = async (): Promise<void> => {
  for (;;) {
    const [identity = new Uint8Array(0), , ...frames] = await socket.receive();
    asked.push(frames.map(String));
    const meta = { id: "TASK-4711", role: "responder", version: 0.1, type: "ACK", pack: Date.now() / 1000 };
    socket.trySend([identity, "", JSON.stringify(meta)]);
  }
};
void serve().catch(() => undefined); // it is closed
afterAll(() => socket.close());

const why = "the engine speaks only version 0.1, which has no results; it has acknowledged the request";

test("a call is told as soon as it is acknowledged that there are no results, and each of several is", async () => {
  await using client = connect(endpoint, { key: "none" });
  const calls = [1, 2, 3].map((number) => rejection(client.call("count", [number, number])));
  for (const error of await Promise.all(calls)) {
    expect(error).toMatchObject({ code: "UNSUPPORTED_VERSION", message: why });
  }
  expect(client.waiting).toBe(0);
});

test("a batch is told so for each of its parts", async () => {
  await using client = connect(endpoint, { key: "none" });
  const results = await client.map("count", [[1], [2]]);
  expect(results).toEqual([
    { error: expect.objectContaining({ code: "UNSUPPORTED_VERSION" }) },
    { error: expect.objectContaining({ code: "UNSUPPORTED_VERSION" }) },
  ]);
});

test("what has no result needs none", async () => {
  await using client = connect(endpoint, { key: "none" });
  await client.publish("pose", 1, { confirm: true });
});

test("an emergency stop that is acknowledged, and not understood, is none", async () => {
  await using client = connect(endpoint, { key: "none" });
  expect(await rejection(client.estop())).toMatchObject({ code: "UNSUPPORTED_VERSION" });
});

const run = (...args: string[]) =>
  runCommand(taskEngine, [...args, "--router", endpoint, "--key", "none"], { env: { PATH: process.env.PATH ?? "" } });

test("`send` sends the task, says that it is acknowledged, and waits for nothing else", async () => {
  asked.length = 0;
  const result = await run("send", "count", "2", "3", "--wait", "1000000");
  expect(result).toEqual({ exitCode: 1, stdout: "", stderr: `task-engine: UNSUPPORTED_VERSION: ${why}\n` });
  expect(asked.map(([, task]) => task).filter((task) => task?.includes('"count"'))).toHaveLength(1);
});

test("`data put` is done when it is acknowledged, `status` says what it cannot have", async () => {
  expect(await run("data", "put", "pose", "1")).toEqual({ exitCode: 0, stdout: "", stderr: "" });
  expect(await run("status")).toMatchObject({ exitCode: 1, stderr: `task-engine: UNSUPPORTED_VERSION: ${why}\n` });
});
