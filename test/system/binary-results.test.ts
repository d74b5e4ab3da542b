/** Results of tasks that are not JSON, through a real engine, to a program and to the command line. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { type Client, connect } from "task-engine";
import { type Engine, oneWorker, runCommand, startEngine } from "../support/engine.ts";
import { taskEngine } from "../support/executable.ts";
import { handRouter } from "../support/hand-router.ts";
import { rejection } from "../support/rejection.ts";
import { type TempFolder, tempFolder } from "../support/temp-folder.ts";

setDefaultTimeout(60_000);

/** Begins as a JPEG does, and has every byte; then a text with a byte order mark, which is UTF-8. */
const jpeg = Buffer.from(Uint8Array.from({ length: 300_000 }, (_, index) => (index * 7919) >> 3));
jpeg.set([0xff, 0xd8, 0xff, 0xe0]);
const text = Buffer.from("\ufeffspeed;11\r\n");

const tasks = `
  import { readFileSync } from "node:fs";
  const file = (name) => readFileSync(new URL("../" + name, import.meta.url));
  export const task_photo = async () => ({ contentType: "image/jpeg", bytes: file("photo") });
  export const task_text = () => ({ contentType: "text/csv", bytes: file("text") });
  export const task_scan = () => ({ bytes: new Float32Array([1, 2, 3, 4, 5, 6]), shape: [2, 3] });
  export const task_plain = () => "plain";
`;

let folder: TempFolder;
let engine: Engine;
let client: Client;
beforeAll(async () => {
  folder = tempFolder({ "tasks/robot.ts": tasks });
  await Promise.all([Bun.write(folder.at("photo"), jpeg), Bun.write(folder.at("text"), text)]);
  engine = await startEngine({ cwd: folder.path, flags: oneWorker, workers: 1 });
  client = connect(engine.endpoint);
}, 60_000);
afterAll(async () => {
  await client.close();
  await engine[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

const direct = () => `tcp://127.0.0.1:${engine.ports.worker}`;

test.each(["the router", "a worker's own port"])("a program gets bytes, arrays and JSON from %s", async (where) => {
  await using own = connect(where === "the router" ? engine.endpoint : direct());
  const call = (task: string) => own.call(task, [], {}, { binary: true });
  expect(await call("photo")).toEqual(new Uint8Array(jpeg));
  expect(await call("text")).toEqual(new Uint8Array(text));
  expect(await call("scan")).toEqual(new Float32Array([1, 2, 3, 4, 5, 6]));
  expect(await call("plain")).toBe("plain");
  expect(await own.request("scan", [], {}, { binary: true })).toMatchObject({
    meta: { version: 0.3 },
    type: { contentType: "application/octet-stream", dtype: "float32", shape: [2, 3] },
  });
});

test.each(["the router", "a worker's own port"])("who asks %s for JSON is told how to ask for bytes", async (where) => {
  await using own = connect(where === "the router" ? engine.endpoint : direct());
  const error = await rejection(own.call("photo"));
  expect(error).toMatchObject({ code: "TASK_ERROR", message: expect.stringContaining("{ binary: true }") });
  const parts = await own.map("photo", [[], []]);
  expect(parts).toEqual(Array(2).fill({ error: expect.objectContaining({ code: "TASK_ERROR" }) }));
});

const surroundings = () => ({ PATH: process.env.PATH ?? "", TASK_ENGINE_ROUTER: engine.endpoint });
const shell = (command: string, ...args: string[]) => {
  const env = { ...surroundings(), OUT: folder.at("out") };
  return Bun.spawn(["sh", "-c", command, "sh", ...taskEngine, ...args], { env, stdout: "pipe", stderr: "pipe" });
};
const hashOf = (bytes: Uint8Array): string => new Bun.CryptoHasher("sha256").update(bytes).digest("hex");

test.each([
  ["photo", 'exec "$@" > "$OUT"', jpeg],
  ["photo", '"$@" | (sleep 0.1; cat) > "$OUT"', jpeg],
  ["text", 'exec "$@" > "$OUT"', text],
])("send %s writes the bytes as they are: %s", async (task, command, bytes) => {
  const child = shell(command, "send", task);
  expect([await child.exited, await child.stderr.text()]).toEqual([0, ""]);
  expect(hashOf(await Bun.file(folder.at("out")).bytes())).toBe(hashOf(bytes));
});

test("send --verbose shows how many bytes came, and not the bytes", async () => {
  const child = shell('exec "$@" > "$OUT"', "send", "photo", "--verbose");
  expect(await child.stderr.text()).toContain(`"contentType":"image/jpeg"} (${jpeg.length} bytes)`);
});

test("send on a terminal says what the result is, and writes none of it", async () => {
  const seen: string[] = [];
  const child = Bun.spawn([...taskEngine, "send", "photo"], {
    env: surroundings(),
    terminal: { cols: 200, rows: 24, data: (_terminal, data) => void seen.push(Buffer.from(data).toString()) },
  });
  expect(await child.exited).toBe(1);
  child.terminal?.close();
  const line = `task-engine: the result is image/jpeg, ${jpeg.length} bytes, which a terminal cannot show: > FILE`;
  expect(seen.join("")).toBe(`${line}\r\n`);
});

test("send --json asks for JSON", async () => {
  const child = shell('exec "$@"', "send", "photo", "--json");
  expect(await child.exited).toBe(1);
  expect(await child.stdout.json()).toMatchObject({ error: { code: "TASK_ERROR" } });
});

test("send asks an engine that refuses version 0.3 once more, in 0.2", async () => {
  using router = handRouter();
  const flags = ["--router", router.endpoint, "--key", "none"];
  const sent = runCommand(taskEngine, ["send", "count", ...flags], { env: { PATH: process.env.PATH ?? "" } });
  const first = await router.next();
  first.refuse("UNSUPPORTED_VERSION", "META.version: 0.3 is not one of 0.1, 0.2, which this engine speaks");
  const second = await router.next();
  second.ack(5);
  expect([first, second].map(({ request }) => request.meta.version)).toEqual([0.3, 0.2]);
  expect(await sent).toEqual({ exitCode: 0, stdout: "5\n", stderr: "" });
});

test("send does not ask again where the task may have run", async () => {
  using router = handRouter();
  const flags = ["--router", router.endpoint, "--key", "none"];
  const sent = runCommand(taskEngine, ["send", "drive", ...flags], { env: { PATH: process.env.PATH ?? "" } });
  (await router.next()).refuse("UNSUPPORTED_VERSION", "drive needs another version");
  expect(await sent).toMatchObject({ exitCode: 1 });
  expect(router.hasMore).toBe(false);
});
