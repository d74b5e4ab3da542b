/** Driving over NATS: a sender that is late, hangs or is gone moves nothing, and the robot stops in time. */
import { afterAll, test as anyTest, beforeAll, expect, setDefaultTimeout } from "bun:test";
import { readFileSync } from "node:fs";
import { connect } from "task-engine";
import { startCommand } from "../../support/command.ts";
import { type Engine, oneWorker, startEngine } from "../../support/engine.ts";
import { Motor } from "../../support/motor.ts";
import { type Hub, lacksNats, startHub } from "../../support/nats.ts";
import { rejection } from "../../support/rejection.ts";
import { SlowCable } from "../../support/slow-cable.ts";
import { type TempFolder, tempFolder } from "../../support/temp-folder.ts";

setDefaultTimeout(120_000);

const test = anyTest.skipIf(lacksNats);

const deadmanMs = 300;
const env = { PATH: process.env.PATH ?? "" };
const tasks = readFileSync(new URL("../../support/drive-tasks.ts", import.meta.url), "utf8").replaceAll(
  'process.env.MOTOR ?? "motor"',
  '"motor"',
);

let hub: Hub;
let folder: TempFolder;
let robot: Engine;
let motor: Motor;
beforeAll(async () => {
  if (lacksNats) return;
  hub = await startHub();
  folder = tempFolder({
    "tasks/drive.ts": tasks,
    motor: "0",
    "task-engine.toml": '[link]\nallow = ["send:drive"]\n',
  });
  robot = await startEngine({
    cwd: folder.path,
    flags: [...oneWorker, "--nats", hub.url, "--robot", "r7", "--groups", "arms"],
  });
  await robot.line(/\[LINK\] r7 listens/);
  motor = new Motor(folder.at("motor"));
});
afterAll(async () => {
  if (lacksNats) return;
  await robot[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
  await hub[Symbol.asyncDispose]();
});

type Address = `nats://${string}`;
const over = (cable: SlowCable): Address => cable.url.replace("http:", "nats:") as Address;
const driving = (address: string, ...target: string[]) =>
  startCommand(["send", "drive", "60", "--nats", address, ...target], { env });

test("a sender drives on while it sends ticks back, and Ctrl-C, its hang and its end stop the robot", async () => {
  for (const signal of ["SIGINT", "SIGSTOP", "SIGKILL"] as const) {
    await using send = driving(hub.url, ...(signal === "SIGSTOP" ? ["--group", "arms"] : ["--robot", "r7"]));
    await motor.turns();
    await Bun.sleep(3 * deadmanMs);
    expect(await motor.known()).not.toBe(0);
    send.signal(signal);
    await motor.stands();
    if (signal === "SIGINT") expect(await send.ended()).toBe(130);
    if (signal === "SIGSTOP") {
      send.signal("SIGCONT");
      expect(await send.ended()).toBe(1);
      expect(send.stderr).toMatch(/DEADMAN: no tick of the/);
    }
  }
});

test("what lay in a buffer keeps no job alive when it comes late, and begins none", async () => {
  using cable = new SlowCable(hub.port);
  await using program = await connect(over(cable), { robot: "r7" });
  const first = rejection(program.call("drive", [60]));
  await motor.turns();
  cable.hold();
  await motor.stands();
  cable.burst();
  expect(await first).toMatchObject({ code: "DEADMAN" });
  expect(await motor.known()).toBe(0);
  // A connection that brings everything, and later than the dead man allows.
  cable.hold();
  const bursts = setInterval(() => {
    cable.burst();
    cable.hold();
  }, 2 * deadmanMs);
  try {
    expect(await rejection(program.call("drive", [60]))).toMatchObject({ code: "DEADMAN" });
    expect(await motor.known()).toBe(0);
  } finally {
    clearInterval(bursts);
    cable.burst();
  }
});

test("a program that says itself that it is alive, and then does not, loses its job; so does one whose hub is gone", async () => {
  await using program = await connect(hub.url as Address, { robot: "r7" });
  const { promise: given, resolve } = Promise.withResolvers<readonly [say: () => void, deadmanMs: number]>();
  const silent = rejection(
    program.call("drive", [60, 1], {}, { deadmanMs: 5_000, keepAlive: (say, ms) => resolve([say, ms]) }),
  );
  const [say, ms] = await given;
  expect(ms).toBe(deadmanMs);
  const word = setInterval(say, 20);
  await motor.turns();
  await Bun.sleep(3 * deadmanMs);
  expect(await motor.known()).not.toBe(0);
  clearInterval(word);
  await motor.stands();
  expect(await silent).toMatchObject({ code: "DEADMAN" });

  const cutOff = rejection(program.call("drive", [60]));
  await motor.turns();
  await hub.kill();
  await motor.stands();
  expect(await cutOff).toMatchObject({ code: "NO_ANSWER" });
  await hub.start();
  await robot.line(/\[LINK\] connected to NATS .* again/);
  expect(await motor.known()).toBe(0);
});
