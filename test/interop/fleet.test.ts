/** Clients of a fleet in other languages, written from NATS' description of its protocol, or with its library, and from LINK.md alone. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type Engine, startEngine } from "../support/engine.ts";
import { type Hub, lacksNats, startHub } from "../support/nats.ts";
import { type TempFolder, tempFolder } from "../support/temp-folder.ts";

setDefaultTimeout(60_000);

/** Debian's package `libnats-dev`, and a compiler. */
const lacksLibrary = !existsSync("/usr/include/nats/nats.h") && process.env.CI === undefined;

const tasks = `
  export const task_echo = ([value]) => value;
  export const task_secret = () => "nobody may";
  export const task_tell = ([x], _, { publish }) => { publish("pose", { x }); };
  export const task_photo = () => new Uint8Array([255, 216, 0]);
  export const task_walk = async (_, __, { progress }) => {
    for (let step = 1; step <= 2; step++) { progress({ step }); await Bun.sleep(200); }
    return "there";
  };
  const untilAborted = (_, __, { signal }) =>
    new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  export const task_wait = untilAborted;
  export const task_drive = { deadmanMs: 500, run: untilAborted };
`;
const settings = `[link]
allow = ["send:echo,tell,photo,walk,wait,drive", "control"]
mirror = ["pose@10"]
`;

let hub: Hub;
let folder: TempFolder;
let robot: Engine;
beforeAll(async () => {
  if (lacksNats) return;
  hub = await startHub();
  folder = tempFolder({ "tasks/robot.ts": tasks, "task-engine.toml": settings });
  robot = await startEngine({ cwd: folder.path, flags: ["--task-workers", "1", "--nats", hub.url, "--robot", "r7"] });
  await robot.line(/\[LINK\] r7 listens/);
});
afterAll(async () => {
  if (lacksNats) return;
  await robot[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
  await hub[Symbol.asyncDispose]();
});

const linesOf = async (...command: string[]): Promise<string[]> => {
  const program = Bun.spawn(command, { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr] = await Promise.all([program.stdout.text(), program.stderr.text()]);
  expect(stderr).toBe("");
  return stdout.trimEnd().split("\n");
};

test.skipIf(lacksNats)(
  "a Python program on a plain socket asks a robot, follows, cancels, is refused, watches, stops and resets it",
  async () => {
    const lines = await linesOf("/usr/bin/python3", "-I", join(import.meta.dir, "fleet.py"), `${hub.port}`, "r7");
    const [first, second, ...others] = lines.splice(5, 2).sort();
    expect([first, second, others]).toEqual(['cancel {"cancelled":true}', "wait CANCELLED", []]);
    expect(lines).toEqual([
      "asked r7 {'from': 'Python'}",
      "walk PROGRESS {'step': 1}",
      "walk PROGRESS {'step': 2}",
      "walk ACK there",
      "photo application/octet-stream [255, 216, 0]",
      "refused UNAUTHORIZED UNAUTHORIZED",
      "absent 503",
      "told",
      'watched application/json {"x":4}',
      "robots r7 None",
      "stopped by Python True",
      "then STOPPED",
      "reset {'data': {'stopped': None}}",
    ]);
  },
);

test.skipIf(lacksNats || lacksLibrary)(
  "a C program with NATS' library asks a robot, watches, drives while it sends ticks back, and stops it",
  async () => {
    const flags = ["-Wall", "-Wextra", "-Werror", "-o", folder.at("fleet"), join(import.meta.dir, "fleet.c"), "-lnats"];
    expect(await linesOf("gcc", ...flags)).toEqual([""]);
    expect(await linesOf(folder.at("fleet"), hub.url, "r7")).toEqual([
      'asked {"data":"from C"}',
      'told {"data":null}',
      'pose {"x":5}',
      "drives",
      "then DEADMAN",
      "refused UNAUTHORIZED",
      "stopped r7 durably",
      'reset {"data":{"stopped":null}}',
    ]);
  },
);
