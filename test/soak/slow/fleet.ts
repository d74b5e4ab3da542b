/** A fleet of two robots on one hub: asking, rights, groups, the roster, stops. */
import { afterAll, beforeAll, expect, setDefaultTimeout } from "bun:test";
import { connect as connectNats, headers } from "@nats-io/transport-node";
import { connect } from "task-engine";
import { test as anyTest } from "../../support/concurrent.ts";
import { type CommandResult, type Engine, oneWorker, runCommand, startEngine } from "../../support/engine.ts";
import { taskEngine } from "../../support/executable.ts";
import { type Hub, lacksNats, startHub } from "../../support/nats.ts";
import { rejection } from "../../support/rejection.ts";
import { type TempFolder, tempFolder } from "../../support/temp-folder.ts";

setDefaultTimeout(300_000); // they wait for one another

const test = anyTest.skipIf(lacksNats);

const tasks = `
  export const task_echo = ([value]) => value;
  export const task_who = () => process.env.ROBOT;
  export const task_secret = () => "nobody may";
  export const task_photo = () => new Uint16Array([1, 2, 515]);
  export const task_walk = async (_, __, { progress }) => {
    for (let step = 1; step <= 3; step++) { progress({ step }); await Bun.sleep(200); }
    return "there";
  };
  export const task_wait = async ([name], __, { signal, log }) => {
    log("begins to wait " + name);
    await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  };
  export const task_drive = { deadmanMs: 300, run: () => "drives" };
  export const task_save = { moves: false, run: ([value]) => value };
`;
const allow = ["send:echo,who,photo,walk,wait,drive,save", "control", "observe"];

const robotFolder = (robot: string): TempFolder =>
  tempFolder({
    "tasks/robot.ts": tasks,
    "task-engine.toml": `[env]\nROBOT = "${robot}"\n[link]\nallow = ${JSON.stringify(robot === "r7" ? allow : ["send:who"])}\n`,
  });

let hub: Hub;
let folders: readonly TempFolder[];
let r7: Engine;
let r8: Engine;
beforeAll(async () => {
  if (lacksNats) return;
  hub = await startHub();
  folders = ["r7", "r8"].map(robotFolder);
  const start = ({ path }: TempFolder, robot: string, groups: string): Promise<Engine> =>
    startEngine({ cwd: path, flags: [...oneWorker, "--nats", hub.url, "--robot", robot, "--groups", groups] });
  const [first, second] = folders;
  if (first === undefined || second === undefined) throw new Error("two robots have two folders");
  [r7, r8] = await Promise.all([start(first, "r7", "arms,lab"), start(second, "r8", "arms")]);
  await Promise.all([r7, r8].map((robot) => robot.line(/\[LINK\] r[78] listens at nats:/)));
});
afterAll(async () => {
  if (lacksNats) return;
  await Promise.all([r7, r8].map((robot) => robot[Symbol.asyncDispose]()));
  for (const folder of folders) folder[Symbol.dispose]();
  await hub[Symbol.asyncDispose]();
});

const run = (...args: string[]): Promise<CommandResult> =>
  runCommand(taskEngine, [...args, "--nats", hub.url], { env: { PATH: process.env.PATH ?? "" } });

test("send --nats asks a robot, and says in one line what it may not, does not know or cannot reach", async () => {
  expect(await run("send", "echo", '{"a":[1,"ü"]}', "--robot", "r7")).toEqual({
    exitCode: 0,
    stdout: '{"a":[1,"ü"]}\n',
    stderr: "",
  });
  const answers = await Promise.all(
    [
      ["secret", "--robot", "r7"],
      ["echo", "--robot", "r8"],
      ["echo", "--robot", "r9"],
      ["echo", "--group", "none"],
      ["echo"],
    ].map((words) => run("send", ...words)),
  );
  expect(answers.map(({ exitCode, stderr }) => [exitCode, stderr.trimEnd()])).toEqual([
    [1, "task-engine: UNAUTHORIZED: client fleet lacks the right send:secret, which `allow` of its [link] gives"],
    [1, "task-engine: UNAUTHORIZED: client fleet lacks the right send:echo, which `allow` of its [link] gives"],
    [3, "task-engine: robot r9 is not there: nothing listens at te.r9.tasks.echo"],
    [1, "task-engine: UNAVAILABLE: no robot of the group none is free and serves echo"],
    [2, "task-engine: name a robot or a group of robots; see task-engine send --help"],
  ]);
  const [kept, credentials, nowhere] = await Promise.all([
    run("data", "get", "pose", "--robot", "r7"),
    run("send", "echo", "--robot", "r7", "--nats-creds", import.meta.path),
    runCommand(taskEngine, ["estop", "--all", "--nats", "nats://127.0.0.1:1"], {
      env: { PATH: process.env.PATH ?? "" },
    }),
  ]);
  expect(kept).toMatchObject({
    exitCode: 1,
    stderr: expect.stringMatching(/^task-engine: UNKNOWN_TOPIC: the fleet has no/),
  });
  expect(credentials).toMatchObject({ exitCode: 2, stderr: expect.stringMatching(/fleet\.ts/) });
  expect(nowhere).toMatchObject({
    exitCode: 3,
    stderr: expect.stringMatching(/^task-engine: NOT known to be stopped: /),
  });
});

test("a program connects to a robot and calls tasks, many at once, with progress, binary results and cancellation", async () => {
  await using robot = await connect(hub.url as `nats://${string}`, { robot: "r7" });
  const steps: unknown[] = [];
  expect(await robot.call("walk", [], {}, { onProgress: (step) => steps.push(step) })).toBe("there");
  expect(steps).toEqual([{ step: 1 }, { step: 2 }, { step: 3 }]);
  expect(await robot.call("drive")).toBe("drives");
  expect(await robot.call("photo", [], {}, { binary: true })).toEqual(new Uint16Array([1, 2, 515]));
  const numbers = Array.from({ length: 100 }, (_, index) => index);
  const results = await robot.map(
    "echo",
    numbers.map((number) => [number]),
  );
  expect(results).toEqual(numbers.map((data) => ({ data })));
  const leaving = new AbortController();
  const waiting = rejection(robot.call("wait", ["in vain"], {}, { signal: leaving.signal }));
  await r7.line(/begins to wait in vain/);
  leaving.abort();
  expect(await waiting).toMatchObject({ code: "CANCELLED" });
  expect((await robot.status()).jobs.accepted).toBeGreaterThan(100);
  const job = await robot.call("save", ["kept"], {}, { detach: true });
  expect(await job.result()).toBe("kept");
  expect(() => robot.publish("pose", 1)).toThrow("data of a robot does not come over NATS");
});

test("the engine itself refuses what the fleet may not, and a robot that allows nothing takes no commands", async () => {
  await using robot = await connect(hub.url as `nats://${string}`, { robot: "r7" });
  expect(await rejection(robot.schedule("x", "run"))).toMatchObject({
    code: "UNAUTHORIZED",
    message: "client fleet lacks the right manage",
  });
  await using other = await connect(hub.url as `nats://${string}`, { robot: "r8" });
  expect(await rejection(other.status())).toMatchObject({ code: "UNAUTHORIZED" });
});

test("a group's request goes to a robot that is free, and to none while all of them are busy", async () => {
  await using group = await connect(hub.url as `nats://${string}`, { group: "arms" });
  await using robot = await connect(hub.url as `nats://${string}`, { robot: "r7" });
  const leaving = new AbortController();
  const busy = rejection(robot.call("wait", ["long"], {}, { signal: leaving.signal }));
  await r7.line(/begins to wait long/);
  const names = await Promise.all(Array.from({ length: 4 }, () => group.call("who").catch(() => "nobody")));
  expect(names).not.toContain("r7");
  expect(names).toContain("r8");
  await using lab = await connect(hub.url as `nats://${string}`, { group: "lab" });
  expect(await rejection(lab.call("who"))).toMatchObject({
    code: "UNAVAILABLE",
    message: "no robot of the group lab is free and serves who",
  });
  leaving.abort();
  await busy;
});

test("a robot is a micro service of NATS: PING, INFO with its tasks, STATS with their counts", async () => {
  const nats = await connectNats({ servers: `127.0.0.1:${hub.port}` });
  const ask = async (subject: string) => (await nats.request(subject)).json<Record<string, unknown>>();
  const iterator = await nats.requestMany("$SRV.PING.task-engine", "", {
    strategy: "count",
    maxMessages: 2,
    maxWait: 5000,
  });
  const pings = (await Array.fromAsync(iterator)).map((message) => message.json<{ id: string; metadata: object }>());
  expect(pings.map(({ metadata }) => JSON.stringify(metadata)).sort()).toEqual([
    '{"robot":"r7","groups":"arms,lab"}',
    '{"robot":"r8","groups":"arms"}',
  ]);
  const { id } = pings.find(({ metadata }) => JSON.stringify(metadata).includes("r7")) ?? { id: "" };
  await nats.request("te.r7.tasks.echo", '{"args":[1]}');
  const info = await ask(`$SRV.INFO.task-engine.${id}`);
  expect(info).toMatchObject({ type: "io.nats.micro.v1.info_response", name: "task-engine", id });
  expect(info.endpoints).toContainEqual({ name: "echo", subject: "te.r7.tasks.echo", queue_group: "", metadata: null });
  const stats = await ask(`$SRV.STATS.task-engine.${id}`);
  const endpoints = stats.endpoints as { name: string; num_requests: number }[];
  expect(endpoints.find(({ name }) => name === "echo")?.num_requests).toBeGreaterThan(0);
  await nats.close();
});

test("what is no request of the protocol gets a code and one line, and nothing else is lost", async () => {
  const nats = await connectNats({ servers: `127.0.0.1:${hub.port}` });
  const codeOf = async (body: string, given: Readonly<Record<string, string>> = {}): Promise<string> => {
    const sent = headers();
    for (const [name, value] of Object.entries(given)) sent.set(name, value);
    const reply = await nats.request("te.r7.tasks.echo", body, { headers: sent, timeout: 5000 });
    return `${reply.headers?.get("Nats-Service-Error-Code")} ${reply.headers?.get("Nats-Service-Error")}`;
  };
  expect(await codeOf("{")).toMatch(/^BAD_FRAME request: not JSON/);
  expect(await codeOf("[]")).toBe("BAD_FRAME request: a list, not an object");
  expect(await codeOf('{"args":1}')).toBe("BAD_ARGS args is not a list");
  expect(await codeOf('{"kwargs":[]}')).toBe("BAD_ARGS kwargs is not an object");
  expect(await codeOf('{"options":{"deadmanMs":300}}')).toMatch(/^BAD_ARGS echo has a dead man: its request needs/);
  expect(await codeOf('{"options":{"deadmanMs":1}}')).toMatch(/^BAD_ARGS options\.deadmanMs is not 50 to/);
  // Nothing of these is a tick of a job.
  for (const body of ["", "{", '{"request":5}', '{"request":"none","tick":1}']) nats.publish("te.r7.alive", body);
  expect(await codeOf('{"options":{"waitMs":"long"}}')).toBe("BAD_ARGS options.waitMs is not a number");
  expect(await codeOf("{}", { "Task-Engine-Request": "x".repeat(300) })).toMatch(/^BAD_ARGS Task-Engine-Request has/);
  expect((await nats.request("te.r7.tasks.echo", '{"args":["still"]}')).json<unknown>()).toEqual({ data: "still" });
  await nats.close();
});
