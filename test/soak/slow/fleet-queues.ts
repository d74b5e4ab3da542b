/** Jobs that a fleet keeps until a robot takes them. */
import { afterAll, test as anyTest, beforeAll, expect, setDefaultTimeout } from "bun:test";
import { join } from "node:path";
import { connect as connectNats, headers } from "@nats-io/transport-node";
import { connect } from "task-engine";
import { type CommandResult, type Engine, oneWorker, runCommand, startEngine } from "../../support/engine.ts";
import { taskEngine } from "../../support/executable.ts";
import { type Hub, lacksNats, startHub } from "../../support/nats.ts";
import { isAlive } from "../../support/proc.ts";
import { rejection } from "../../support/rejection.ts";
import { type TempFolder, tempFolder } from "../../support/temp-folder.ts";

setDefaultTimeout(120_000); // they wait for one another

const test = anyTest.skipIf(lacksNats);

const tasks = `
  import { appendFileSync, existsSync } from "node:fs";
  export const task_save = { moves: false, run: ([value]) => value };
  export const task_photo = { moves: false, run: () => new Uint16Array([1, 2, 515]) };
  export const task_fail = { moves: false, run: () => { throw new Error("no"); } };
  export const task_note = { moves: false, run: ([file]) => { appendFileSync(file, "x"); } };
  export const task_gated = { moves: false, run: async ([file, gate]) => {
    appendFileSync(file, "x");
    while (!existsSync(gate)) await Bun.sleep(20);
    return "went through";
  } };
  export const task_wait = { moves: false, run: async (_, __, { signal }) => {
    await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  } };
  export const task_drive = () => "drives";
  export const task_guarded = { moves: false, deadmanMs: 300, run: () => "drives" };
`;

let hub: Hub;
let folder: TempFolder;
let state: TempFolder;
let r7: Engine;
/** @param first the port of an earlier life, whose state it finds */
const startRobot = async (first?: number): Promise<Engine> => {
  const flags = [...oneWorker, "--nats", hub.url, "--robot", "r7", "--groups", "arms"];
  const robot = await startEngine({ cwd: folder.path, flags, state: state.path, ...(first && { first }) });
  await robot.line(/\[LINK\] r7 listens at nats:/);
  return robot;
};
beforeAll(async () => {
  if (lacksNats) return;
  hub = await startHub();
  const allow = 'allow = ["send", "control", "observe"]';
  state = tempFolder();
  folder = tempFolder({ "tasks/robot.ts": tasks, "task-engine.toml": `[link]\n${allow}\n` });
  r7 = await startRobot();
  await untilKept();
});
afterAll(async () => {
  if (lacksNats) return;
  await r7[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
  state[Symbol.dispose]();
  await hub[Symbol.asyncDispose]();
});

const run = (...args: string[]): Promise<CommandResult> =>
  runCommand(taskEngine, [...args, "--nats", hub.url], { env: { PATH: process.env.PATH ?? "" } });

/** The roster says that the robot takes jobs for later. */
const untilKept = async (): Promise<void> => {
  await using robot = await connect(hub.url as `nats://${string}`, { robot: "r7" });
  while (
    !(await robot.call("save", [1], {}, { detach: true }).then(
      () => true,
      () => false,
    ))
  )
    await Bun.sleep(50);
};

test("a job for a group or a robot is kept, taken, run and told, by commands", async () => {
  const { stdout, exitCode, stderr } = await run("send", "save", '{"a":"ü"}', "--detach", "--group", "arms");
  expect([exitCode, stderr]).toEqual([0, ""]);
  const id = stdout.trim();
  expect(id).toMatch(/^[a-z2-7]{16}$/);
  expect(await run("result", id)).toEqual({ exitCode: 0, stdout: '{"a":"ü"}\n', stderr: "" });
  const listed = await run("jobs", "--task", "save", "--group", "arms");
  expect(listed.stdout).toContain(`${id}  done`);
  expect((await run("job", id)).stdout).toContain("worker:    r7");
  const failing = (await run("send", "fail", "--detach", "--robot", "r7")).stdout.trim();
  expect(await run("result", failing)).toMatchObject({ exitCode: 1, stderr: "task-engine: TASK_ERROR: no\n" });
  expect(await run("cancel", id)).toMatchObject({ exitCode: 1, stderr: `task-engine: job ${id} has ended already\n` });
});

test("what may not begin by itself, and what nobody serves, is refused to the sender in one line", async () => {
  const said = async (task: string, ...more: string[]): Promise<string> =>
    (await run("send", task, "--detach", ...more)).stderr.trimEnd();
  const remedy =
    "so its jobs cannot be kept for later; write `moves: false` in its definition if it moves nothing, or `resumesAfterRestart: true`";
  const answers = await Promise.all([
    said("drive", "--group", "arms"),
    said("guarded", "--robot", "r7"),
    said("nothing", "--robot", "r7"),
    said("save", "--robot", "r9"),
    said("save", "--group", "none"),
    said("save", "--robot", "r7", "--in", "10s"),
  ]);
  expect(answers).toEqual([
    `task-engine: BAD_ARGS: drive may move something or has a dead man, or group arms has no JetStream, ${remedy}`,
    `task-engine: BAD_ARGS: guarded may move something or has a dead man, or robot r7 has no JetStream, ${remedy}`,
    'task-engine: UNKNOWN_TASK: robot r7 has no task "nothing" that the fleet may run',
    "task-engine: UNAVAILABLE: the roster of the fleet has no robot r9",
    "task-engine: UNAVAILABLE: the roster of the fleet has no group none",
    "task-engine: BAD_ARGS: delayMs does not go with a job that the fleet keeps",
  ]);
});

test("a program gives a job to a group and gets its result; one `unique` key is one job", async () => {
  await using group = await connect(hub.url as `nats://${string}`, { group: "arms" });
  const photo = await group.call("photo", [], {}, { detach: true });
  expect(await photo.result()).toEqual(new Uint16Array([1, 2, 515]));
  const unique = "one";
  const [first, second] = await Promise.all([1, 2].map(() => group.call("save", ["u"], {}, { detach: true, unique })));
  expect(second?.id).toBe(first?.id ?? "");
  expect([first?.existing, second?.existing].sort()).toEqual([false, true]);
  expect(await second?.result()).toBe("u");
  const other = rejection(group.call("save", ["other"], {}, { detach: true, unique }));
  expect(await other).toMatchObject({ code: "BAD_ARGS" });
  expect((await group.jobs({ task: "photo" })).map(({ job, state }) => [job, state])).toEqual([[photo.id, "done"]]);
});

test("a robot that is busy takes nothing more; a job that waits is cancelled in the queue, one that runs on the robot", async () => {
  await using robot = await connect(hub.url as `nats://${string}`, { robot: "r7" });
  const running = await robot.call("wait", [], {}, { detach: true });
  while ((await running.report()).state !== "taken") await Bun.sleep(20);
  const waiting = await robot.call("save", ["later"], {}, { detach: true });
  const expiring = await robot.call("save", ["late"], {}, { detach: true, ttlMs: 1 });
  await Bun.sleep(1500);
  expect((await waiting.report()).state).toBe("queued");
  expect(await waiting.cancel()).toBe(true);
  expect(await running.cancel()).toBe(true);
  expect(await rejection(running.result())).toMatchObject({ code: "CANCELLED" });
  expect(await rejection(waiting.result())).toMatchObject({ code: "CANCELLED" });
  expect(await rejection(expiring.result())).toMatchObject({ code: "EXPIRED" });
});

test("a message of another hand needs a subject and an id, and a second one of the same id does not run again", async () => {
  const nats = await connectNats({ servers: `127.0.0.1:${hub.port}` });
  const file = folder.at("noted");
  const sent = headers();
  sent.set("Nats-Msg-Id", "job-of-another-hand");
  const send = (): Promise<unknown> =>
    nats.request("te.jobs.group.arms.note", JSON.stringify({ args: [file] }), { headers: sent, timeout: 5000 });
  await send();
  await using group = await connect(hub.url as `nats://${string}`, { group: "arms" });
  while ((await group.job("job-of-another-hand").catch(() => null))?.ended == null) await Bun.sleep(20);
  await nats.request("$JS.API.STREAM.PURGE.te-jobs");
  sent.set("Nats-Msg-Id", "job-of-another-hand");
  await nats.request("te.jobs.robot.r7.note", JSON.stringify({ args: [file] }), { headers: sent, timeout: 5000 });
  await (await group.call("save", [], {}, { detach: true })).result();
  expect(await Bun.file(file).text()).toBe("x");
  await nats.close();
});

test("a link that is killed tells the result of what it has taken once it is back, and runs none of it again", async () => {
  await using group = await connect(hub.url as `nats://${string}`, { group: "arms" });
  const [file, gate] = [folder.at("runs"), folder.at("gate")];
  const running = await group.call("gated", [file, gate], {}, { detach: true });
  const notes = Bun.file(join(r7.state, `${r7.ports.frontend}`, "fleet-r7.taken"));
  while (!(await notes.text()).includes(`begun ${running.id}`)) await Bun.sleep(20);
  const [link = 0] = r7.pidsOf("link");
  process.kill(link, "SIGKILL");
  await Bun.write(gate, "");
  expect(await running.result()).toBe("went through");
  expect(await Bun.file(file).text()).toBe("x");
});

test("a robot that is killed as a whole says INTERRUPTED of what had begun, and takes what the fleet has kept meanwhile", async () => {
  await using group = await connect(hub.url as `nats://${string}`, { group: "arms" });
  const file = folder.at("runs-2");
  const running = await group.call("gated", [file, folder.at("no-gate")], {}, { detach: true });
  while (!(await Bun.file(file).exists())) await Bun.sleep(20);
  for (const pid of [r7.pid, ...r7.childPids].filter(isAlive)) process.kill(pid, "SIGKILL");
  await r7[Symbol.asyncDispose]();
  const kept = await group.call("save", ["for the next"], {}, { detach: true });
  expect((await kept.report()).state).toBe("queued");
  r7 = await startRobot(r7.ports.frontend);
  expect(await kept.result()).toBe("for the next");
  expect(await rejection(running.result())).toMatchObject({ code: "INTERRUPTED" });
  expect(await Bun.file(file).text()).toBe("x");
});
