/** Topics of a robot that its fleet gets: how often, which, their newest values, and what a lost hub changes. */
import { test as anyTest, expect, setDefaultTimeout } from "bun:test";
import { connect as connectNats, headers, type Msg } from "@nats-io/transport-node";
import { connect } from "task-engine";
import { startCommand } from "../../support/command.ts";
import { runCommand, startEngine } from "../../support/engine.ts";
import { taskEngine } from "../../support/executable.ts";
import { lacksNats, startHub } from "../../support/nats.ts";
import { tempFolder } from "../../support/temp-folder.ts";

setDefaultTimeout(120_000);

const test = anyTest.skipIf(lacksNats);

const env = { PATH: process.env.PATH ?? "" };
const until = async (isSo: () => boolean): Promise<void> => {
  while (!isSo()) await Bun.sleep(20);
};

test("topics of `mirror` go to the fleet, thinned out, with their types; the newest value of each is kept through a lost hub", async () => {
  await using hub = await startHub();
  using folder = tempFolder({
    "task-engine.toml": '[link]\nmirror = ["pose@5", "pose/fine@100", "camera@100", "battery@0.2"]\n',
  });
  const flags = ["--task-workers", "1", "--nats", hub.url, "--robot", "r7"];
  await using robot = await startEngine({ cwd: folder.path, flags });
  await robot.line(/\[LINK\] r7 listens/);
  const nats = await connectNats({ servers: `127.0.0.1:${hub.port}`, maxReconnectAttempts: -1, reconnectTimeWait: 50 });
  const seen: Msg[] = [];
  const of = (topic: string): Msg[] => seen.filter(({ subject }) => subject === `te.r7.data.${topic}`);
  nats.subscribe("te.*.data.>", { callback: (_, message) => void seen.push(message) });
  await nats.flush();
  await using engine = connect(robot.endpoint);
  const confirm = { confirm: true } as const;
  const run = (...args: string[]) => runCommand(taskEngine, [...args, "--nats", hub.url, "--robot", "r7"], { env });

  // Of 100 values within less than a second few pass at 5 Hz; the newest comes last, however late.
  for (let x = 1; x <= 100; x++) await engine.publish("pose", { x }, confirm);
  await engine.publish("camera", new Uint8Array([255, 216, 7]), { ...confirm, contentType: "image/jpeg" });
  await engine.publish("pose/fine", "a", confirm);
  await engine.publish("secret", 1, confirm);
  await engine.publish("camera of ü", 1, confirm);
  await until(() => of("pose").at(-1)?.json<{ x: number }>().x === 100 && of("camera").length > 0);
  expect(of("pose").length).toBeLessThan(50);
  const [photo] = of("camera");
  expect(photo?.data).toEqual(new Uint8Array([255, 216, 7]));
  expect(photo?.headers?.get("Content-Type")).toBe("image/jpeg");
  expect(JSON.parse(photo?.headers?.get("Task-Engine-Meta") ?? "")).toMatchObject({
    seq: 1,
    contentType: "image/jpeg",
  });
  expect(of("pose").at(-1)?.headers?.get("Content-Type")).toBe("application/json");
  await robot.line(/\[LINK\] the topic "camera of ü" is not mirrored: NATS has no such subject/);
  await until(() => of("pose/fine").length > 0);
  expect(seen.filter(({ subject }) => /secret/.test(subject))).toEqual([]);

  // A command that comes later gets the newest values, and then each that comes; what is no value it leaves out.
  while ((await run("data", "get", "pose")).stdout !== '{"x":100}\n') await Bun.sleep(50);
  expect((await run("data", "get", "camera", "--json")).stdout).toMatch(
    /^\{"topic":"camera","contentType":"image\/jpeg","bytes":3,/,
  );
  await using watch = startCommand(["data", "watch", "pose", "pose/", "--nats", hub.url, "--robot", "r7"], { env });
  await watch.shown(/^pose\/fine "a"$/m);
  nats.publish("te.r7.data.pose", "{", { headers: headers() });
  await engine.publish("pose", { x: 101 }, confirm);
  await watch.shown(/^pose \{"x":100\}\n(?:.*\n)*pose \{"x":101\}$/m);

  expect(await run("data", "get", "secret")).toMatchObject({
    exitCode: 1,
    stderr:
      'task-engine: UNKNOWN_TOPIC: the fleet has no value of "secret" of robot r7; `mirror` of its [link] names what it sends\n',
  });
  expect((await run("data", "get", "a*")).stderr).toMatch(/^task-engine: UNKNOWN_TOPIC/);
  expect(await run("data", "watch", "pose", "--max-hz", "3")).toMatchObject({
    exitCode: 2,
    stderr: expect.stringMatching(/--max-hz does not go with --nats/),
  });
  const nobody = await runCommand(taskEngine, ["data", "get", "pose", "--nats", hub.url], { env });
  expect(nobody).toMatchObject({ exitCode: 2, stderr: expect.stringMatching(/name the robot: --robot NAME/) });

  // While the hub is away values come and go; afterwards the fleet has the newest of each.
  await hub.kill();
  await robot.line(/\[LINK\] the connection to NATS .* is lost/);
  for (let x = 200; x <= 205; x++) await engine.publish("pose", { x }, confirm);
  await engine.publish("battery", 0.5, confirm);
  await hub.start();
  await watch.shown(/^pose \{"x":205\}$/m);
  while ((await run("data", "get", "battery")).stdout !== "0.5\n") await Bun.sleep(50);

  // A robot that is forgotten leaves nothing behind.
  expect(await runCommand(taskEngine, ["robots", "forget", "r7", "--nats", hub.url], { env })).toMatchObject({
    exitCode: 0,
  });
  expect(await run("data", "get", "battery")).toMatchObject({ exitCode: 1 });
  await nats.close();
});
