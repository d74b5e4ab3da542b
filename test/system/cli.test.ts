/** What a person types, against a real engine. */
import { afterAll, beforeAll, expect, setDefaultTimeout } from "bun:test";
import { writeFileSync } from "node:fs";
import { connect } from "task-engine";
import { test } from "../support/concurrent.ts";
import { until } from "../support/connections.ts";
import { type Engine, runCommand, startEngine } from "../support/engine.ts";
import { taskEngine } from "../support/executable.ts";
import { handRouter } from "../support/hand-router.ts";
import { freePorts } from "../support/ports.ts";
import { type TempFolder, tempFolder } from "../support/temp-folder.ts";

setDefaultTimeout(300_000); // they wait for one another

const tasks = `
  export const task_echo = ([value]) => value;
  export const task_name = async ([value], { title = "" }) => title + value;
  export const task_slow = async ([ms]) => { await Bun.sleep(ms); return "slow"; };
  export const task_fail = () => { throw new Error("the arm is stuck"); };
`;

let folder: TempFolder;
let engine: Engine;
beforeAll(async () => {
  folder = tempFolder({ "tasks/robot.ts": tasks });
  engine = await startEngine({ cwd: folder.path });
}, 30_000);
afterAll(async () => {
  await engine[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

const run = (...args: string[]) => runCommand(taskEngine, args, { env: surroundings() });
const surroundings = () => ({ PATH: process.env.PATH ?? "", TASK_ENGINE_ROUTER: engine.endpoint });
const direct = () => `tcp://127.0.0.1:${engine.ports.worker}`;

test("send count 2 3 prints exactly 5", async () => {
  expect(await run("send", "count", "2", "3")).toEqual({ exitCode: 0, stdout: "5\n", stderr: "" });
});

test.each([
  [["count", "-2", "3"], "1"],
  [["task_count", "2", "3"], "5"],
  [["echo", "forward"], "forward"],
  [["echo", '"3"'], "3"],
  [["echo", '{"a":[1,null]}'], '{"a":[1,null]}'],
  [["echo", "12345678901234567890"], "12345678901234567890"],
  [["echo", "NaN"], "NaN"],
  [["echo", "--", "--verbose"], "--verbose"],
  [["echo"], "null"],
  [["name", "Marvin", "--kwargs", '{"title":"Mr "}'], "Mr Marvin"],
])("send %p prints %s", async (args, line) => {
  expect(await run("send", ...args)).toEqual({ exitCode: 0, stdout: `${line}\n`, stderr: "" });
});

test("send --json prints the whole answer, also a string as JSON", async () => {
  const { exitCode, stdout } = await run("send", "echo", "hi", "--json");
  expect(exitCode).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ data: "hi", meta: { type: "ACK", role: "responder", version: 0.2 } });
});

test("send --verbose prints the frames on stderr and nothing but the result on stdout", async () => {
  const { stdout, stderr } = await run("send", "count", "2", "3", "--verbose");
  expect(stdout).toBe("5\n");
  const [sending = "", serial = "", received = "", ...more] = stderr.trimEnd().split("\n");
  expect(more).toEqual([]);
  expect(serial).toMatch(/^\[CLIENT\] Serial: (\S+) \(task-engine cancel \1 cancels it\)$/);
  expect(sending).toStartWith('[CLIENT] Sending: {"id":"CLIENT-');
  expect(sending).toContain('"args":[2,3]');
  expect(received).toStartWith('[CLIENT] Received: {"id":"TASK-');
  expect(received).toContain('"data":5');
});

test("send --direct goes to a worker's own port", async () => {
  const { exitCode, stdout } = await run("send", "count", "2", "3", "--direct", direct());
  expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: "5\n" });
});

test.each([
  [["nope"], 'UNKNOWN_TASK: no task "nope" is registered'],
  [["fail"], "TASK_ERROR: the arm is stuck"],
  [["count", "NaN"], "TASK_ERROR: "],
  [["__proto__"], "UNKNOWN_TASK: "],
])("send %p exits with 1 and says %s", async (args, message) => {
  const { exitCode, stdout, stderr } = await run("send", ...args);
  expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: "" });
  expect(stderr).toStartWith(`task-engine: ${message}`);
  expect(stderr.trimEnd().split("\n")).toHaveLength(1);
});

test("send --json prints an error as JSON too", async () => {
  const { exitCode, stdout } = await run("send", "fail", "--json");
  expect(exitCode).toBe(1);
  expect(JSON.parse(stdout)).toEqual({ error: { code: "TASK_ERROR", message: expect.stringContaining("stuck") } });
});

test("no engine there ends every verb with 3 at once, and says what to do", async () => {
  const endpoint = `tcp://127.0.0.1:${freePorts(1)}`;
  using batch = tempFolder({ lines: "[1, 2]\n" });
  const verbs = [
    ["send", "count"],
    ["tasks"],
    ["data", "put", "a", "1"],
    ["data", "get", "a"],
    ["data", "watch"],
    ["bench"],
    ["status"],
    ["cancel", "x"],
    ["reset"],
    ["send", "count", "--batch", batch.at("lines")],
  ];
  const results = await Promise.all(verbs.map((verb) => run(...verb, "--router", endpoint)));
  for (const [index, { exitCode, stdout, stderr }] of results.entries()) {
    expect({ verb: verbs[index], exitCode, stdout }).toEqual({ verb: verbs[index], exitCode: 3, stdout: "" });
    expect(stderr).toStartWith("task-engine: ");
    expect(stderr).toEndWith(
      `no connection to ${endpoint}: nobody listens there (ECONNREFUSED); start the engine (task-engine serve), or check the port, or wait for one that is starting: --wait MS (waitMs in a program)\n`,
    );
  }
  const direct = await run("send", "count", "--direct", endpoint);
  expect([direct.exitCode, direct.stderr]).toEqual([3, expect.stringContaining("nobody listens there")]);
});

test.serial("no answer in time ends with 3 and says what became of the task", async () => {
  const { exitCode, stderr } = await run("send", "slow", "1500", "--wait", "300");
  expect(exitCode).toBe(3);
  expect(stderr).toContain("within 300 ms: it was told to cancel the request, but may have been at work on it");
});

test.serial("tasks lists the names, and --json how many workers serve each", async () => {
  expect((await run("tasks")).stdout).toBe("count\necho\nfail\nname\nslow\n");
  // The worker that did not let go above is killed, and another is started.
  await until("both workers", async () => {
    const tasks = JSON.parse((await run("tasks", "--json")).stdout) as { name: string; workers: number }[];
    return tasks.some(({ name, workers }) => name === "count" && workers === 2);
  });
});

test("data put and get", async () => {
  expect(await run("data", "put", "pose", '{"x":-1}')).toEqual({ exitCode: 0, stdout: "", stderr: "" });
  expect((await run("data", "get", "pose")).stdout).toBe('{"x":-1}\n');
  expect(JSON.parse((await run("data", "get", "pose", "--json")).stdout)).toEqual({
    topic: "pose",
    data: { x: -1 },
    pack: expect.any(Number),
  });
  await run("data", "put", "state", "on the way");
  expect((await run("data", "get", "state")).stdout).toBe("on the way\n");
  await run("data", "put", "depth", "-2.5");
  expect((await run("data", "get", "depth")).stdout).toBe("-2.5\n");
});

test("data get of a topic without a value, and data put to one of the engine's own, end with 1", async () => {
  const unknown = await run("data", "get", "never");
  expect(unknown.exitCode).toBe(1);
  expect(unknown.stderr).toStartWith("task-engine: UNKNOWN_TOPIC: ");
  expect((await run("data", "put", "$topics", "1")).exitCode).toBe(1);
});

/** A running `data watch`. */
const watch = (...args: string[]) => {
  const child = Bun.spawn([...taskEngine, "data", "watch", ...args], {
    env: surroundings(),
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const reader = child.stdout.getReader();
  let text = "";
  return {
    child,
    reader,
    line: async (): Promise<string> => {
      while (!text.includes("\n")) {
        const { done, value } = await reader.read();
        if (done) throw new Error(`data watch ended: ${await child.stderr.text()}`);
        text += Buffer.from(value).toString();
      }
      const end = text.indexOf("\n");
      const line = text.slice(0, end);
      text = text.slice(end + 1);
      return line;
    },
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
};

test.each(["SIGINT", "SIGTERM"] as const)(
  "data watch prints the last value, then each that comes, and ends with 0 on %s",
  async (signal) => {
    await run("data", "put", `w.${signal}`, '{"n":1}');
    await using watching = watch(`w.${signal}`);
    expect(await watching.line()).toBe(`w.${signal} {"n":1}`);
    await run("data", "put", `w.${signal}`, "text");
    expect(await watching.line()).toBe(`w.${signal} "text"`);
    watching.child.kill(signal);
    expect(await watching.child.exited).toBe(0);
    expect(await watching.child.stderr.text()).toBe("");
  },
);

test("data watch --json prints JSON lines", async () => {
  await run("data", "put", "j", "1");
  await using watching = watch("j", "--json");
  expect(JSON.parse(await watching.line())).toEqual({ topic: "j", data: 1, pack: expect.any(Number) });
});

test("data watch ends with 0 when its reader goes", async () => {
  await run("data", "put", "r", "0");
  await using watching = watch("r");
  expect(await watching.line()).toBe("r 0");
  await watching.reader.cancel();
  // The end of a pipe is noticed at the next write.
  await run("data", "put", "r", "1");
  expect(await watching.child.exited).toBe(0);
  expect(await watching.child.stderr.text()).toBe("");
});

test("data watch ends although its reader has stopped reading", async () => {
  await run("data", "put", "s", "0");
  await using watching = watch("s");
  expect(await watching.line()).toBe("s 0");
  await using client = connect(engine.endpoint);
  for (let count = 0; count < 10; count++) await client.publish("s", "x".repeat(500_000), { confirm: true });
  watching.child.kill("SIGINT");
  expect(await watching.child.exited).toBe(0);
});

test("a file is published as it is, comes back as it was, and is listed and removed", async () => {
  const photo = Buffer.from([0xff, 0xd8, 0x00, 0x0a, 0x80, 0xc3]);
  const path = `${folder.path}/photo.jpg`;
  writeFileSync(path, photo);
  expect((await run("data", "put", "camera/front", path, "--type", "image/jpeg")).exitCode).toBe(0);
  await run("data", "put", "camera/note", "dusk");
  const child = Bun.spawn([...taskEngine, "data", "get", "camera/front", "--router", engine.endpoint], {
    stdout: "pipe",
  });
  expect(Buffer.from(await child.stdout.bytes()).equals(photo)).toBe(true);
  expect((await run("data", "get", "camera/front", "--last", "1h")).stdout).toBe("(image/jpeg, 6 bytes)\n");
  const listed = (await run("data", "list", "camera/", "--json")).stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(listed).toMatchObject([
    { topic: "camera/front", contentType: "image/jpeg", values: 1 },
    { topic: "camera/note", values: 1 },
  ]);
  expect((await run("data", "list", "camera/n")).stdout).toStartWith("camera/note  application/json  ");
  expect(await run("data", "rm", "camera/front")).toEqual({ exitCode: 0, stdout: "", stderr: "" });
  const gone = await run("data", "get", "camera/front");
  expect(gone).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("UNKNOWN_TOPIC") });
});

test("a large result goes through a pipe whole", async () => {
  await using client = connect(engine.endpoint);
  await client.publish("large", "x".repeat(1_500_000), { confirm: true });
  const { exitCode, stdout } = await run("data", "get", "large");
  expect({ exitCode, length: stdout.length }).toEqual({ exitCode: 0, length: 1_500_001 });
});

test("bench counts, and says how long it took", async () => {
  const { exitCode, stdout } = await run("bench", "--samples", "500", "--window", "50");
  expect(exitCode).toBe(0);
  expect(stdout).toMatch(
    /^running 500 samples, took: \d+\.\d\d\nrate: \d+ tasks\/s\np50: \d+\.\d{3} ms\np99: \d+\.\d{3} ms\n$/,
  );
});

test("bench --json and --direct", async () => {
  const { stdout } = await run("bench", "--samples", "100", "--json", "--direct", direct());
  expect(JSON.parse(stdout)).toEqual({
    samples: 100,
    window: 1,
    seconds: expect.any(Number),
    perSecond: expect.any(Number),
    p50Ms: expect.any(Number),
    p99Ms: expect.any(Number),
  });
});

test("bench ends with 1 at the first wrong result", async () => {
  using router = handRouter();
  router.serve((arrived) => arrived.ack(7));
  const { exitCode, stdout, stderr } = await run("bench", "--router", router.endpoint, "--window", "4");
  expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: "" });
  expect(stderr).toBe("task-engine: wrong result: count 0 1 gave 7 instead of 1\n");
});
