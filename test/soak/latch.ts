/**
 * Emergency stops of engines that are killed as a whole in the moment of the answer, by each way to stop them and with a supervisor that
 * hangs; and starts right after their supervisor's death under load. Not a part of `bun test`: `bun test ./test/soak/latch.ts` runs
 * it, TIMES says how often (15), ENGINE names an executable in place of the source.
 */
import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { type Client, connect, type StopResult } from "../../src/client/client.ts";
import { stopBySocket } from "../../src/supervisor/stop-socket.ts";
import { type Engine, type EngineOptions, startEngine } from "../support/engine.ts";
import { taskEngine } from "../support/executable.ts";
import { Flooder } from "../support/flooder.ts";
import { freePorts } from "../support/ports.ts";
import { isAlive } from "../support/proc.ts";
import { json, metaFrame, requestTo } from "../support/raw-requestor.ts";
import { canMount, smallDisk } from "../support/small-disk.ts";
import { tempFolder } from "../support/temp-folder.ts";

setDefaultTimeout(3_600_000);

const times = Number(process.env.TIMES ?? 15);
const command = process.env.ENGINE === undefined ? taskEngine : [process.env.ENGINE];

/** Whether it is said to be durable. */
type Way = (engine: Engine, client: Client) => Promise<boolean>;

const ways: Readonly<Record<string, Way>> = {
  "over ZeroMQ": async ({ endpoint }) => {
    using requestor = requestTo(endpoint);
    const control = json({ data: { command: "estop", reason: "smoke" }, pack: 1 });
    requestor.send(metaFrame({ version: 0.2, type: "CONTROL" }), control);
    const { data } = await requestor.reply();
    return (data as StopResult).durable;
  },
  "by the client": async (_, client) => (await client.estop("smoke")).durable,
  "by the command line": async (engine) => {
    const { exitCode } = await engine.run("estop", "--reason", "smoke", "--router", engine.endpoint);
    return exitCode === 0;
  },
  "past the router": async ({ state, ports }) => {
    const path = join(state, String(ports.frontend), "stop.sock");
    return (await stopBySocket(path, "smoke", AbortSignal.timeout(60_000))).durable;
  },
  "with a supervisor that hangs": async (engine, client) => {
    engine.signal("SIGSTOP");
    return (await client.estop("smoke")).durable;
  },
};

const killAll = (engine: Engine): void => {
  for (const pid of [engine.pid, ...engine.childPids.filter(isAlive)]) process.kill(pid, "SIGKILL");
};

const stopAndKill = async (options: EngineOptions, way: Way): Promise<boolean> => {
  await using engine = await startEngine(options);
  await using client = connect(engine.endpoint);
  await engine.run("reset", "--router", engine.endpoint);
  const isDurable = await way(engine, client);
  killAll(engine);
  await engine.ended();
  return isDurable;
};

/** Whether a start is stopped. */
const isStopped = async (options: EngineOptions): Promise<boolean> => {
  await using engine = await startEngine(options);
  const { stdout, stderr } = await engine.run("send", "count", "2", "3", "--router", engine.endpoint);
  const isSo = stderr.includes("STOPPED");
  expect(isSo || stdout === "5\n").toBe(true);
  return isSo;
};

for (const [name, way] of Object.entries(ways)) {
  test(`${times} stops ${name}, each followed by SIGKILL of the whole engine: what is said of the disk is true`, async () => {
    using folder = tempFolder();
    const options = { command, state: folder.path, first: freePorts(5) };
    let durable = 0;
    for (let time = 0; time < times; time++) {
      const isDurable = await stopAndKill(options, way);
      if (isDurable) durable++;
      expect(!isDurable || (await isStopped(options))).toBe(true);
    }
    process.stdout.write(`${name}: ${durable} of ${times} on the disk\n`);
    expect(durable).toBe(way === ways["with a supervisor that hangs"] ? 0 : times);
  });
}

test.skipIf(!canMount)("a full disk takes the stop of an engine, and its end", async () => {
  for (const what of ["blocks", "inodes"] as const) {
    using disk = smallDisk("size=64k,nr_inodes=24");
    const options = { command, state: disk.path, first: freePorts(5) };
    {
      await using engine = await startEngine(options);
      disk.fill(what);
      const stopped = await engine.run("estop", "--reason", "smoke", "--router", engine.endpoint);
      expect(stopped).toMatchObject({ exitCode: 0, stderr: "" });
      killAll(engine);
      await engine.ended();
    }
    {
      await using engine = await startEngine(options);
      const refused = await engine.run("send", "count", "2", "3", "--router", engine.endpoint);
      expect(refused.stderr).toMatch(/STOPPED.*smoke/);
      expect(await engine.run("reset", "--router", engine.endpoint)).toMatchObject({ exitCode: 0 });
      killAll(engine);
      await engine.ended();
    }
    expect(await isStopped(options)).toBe(false);
  }
});

test.skipIf(!canMount)("a disk that can only be read is said, and what it has stays", async () => {
  using disk = smallDisk("size=256k");
  const options = { command, state: disk.path, first: freePorts(5) };
  await using engine = await startEngine(options);
  const run = (verb: string) => engine.run(verb, "--router", engine.endpoint);
  disk.isReadOnly = true;
  expect(await run("estop")).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("EROFS") });
  expect(await run("reset")).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("EROFS") });
  disk.isReadOnly = false;
  expect(await run("estop")).toMatchObject({ exitCode: 0 });
  disk.isReadOnly = true;
  expect(await run("reset")).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("EROFS") });
  expect(await run("estop")).toMatchObject({ exitCode: 0 });
  disk.isReadOnly = false;
  expect(await run("reset")).toMatchObject({ exitCode: 0 });
});

test(`${times} starts right after SIGKILL of the supervisor under load find what they need`, async () => {
  using folder = tempFolder();
  const options = { command, state: folder.path, first: freePorts(5) };
  for (let time = 0; time < times; time++) {
    await using killed = await startEngine(options);
    await using flooder = new Flooder(killed.endpoint, "count");
    await flooder.on();
    await Bun.sleep(Math.random() * 200);
    killed.signal("SIGKILL");
    await using engine = await startEngine(options);
    expect(isAlive(engine.pid)).toBe(true);
    await killed.ended();
  }
});
