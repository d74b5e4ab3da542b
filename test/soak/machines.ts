/**
 * Two machines: two network namespaces with addresses of their own and nothing but a cable between them. The README's
 * commands for two machines are run as they stand there; `ssh` alone is replaced, by one that crosses into the other
 * namespace. Needs root (Linux, `ip netns`); where there is none this is left out, except in continuous integration.
 */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Cable, type Machine } from "../support/cable.ts";
import { taskEngine } from "../support/executable.ts";
import { tempFolder } from "../support/temp-folder.ts";

setDefaultTimeout(60_000);

const cable = Cable.plug();
if (cable === null && process.env.CI === undefined)
  process.stderr.write("no network namespaces here (are you root?): two machines are not tried\n");
const robotAddress = Cable.robotAddress;

const readme = readFileSync(join(import.meta.dir, "../../README.md"), "utf8");
const section = /^## Two machines\n(.*?)^## /ms.exec(readme)?.[1] ?? "";
/** `robot$ command`, `laptop$ command` */
const steps = [...section.matchAll(/^(robot|laptop)\$ ((?:.*\\\n)*.*)$/gm)].map(([, machine, command = ""]) => ({
  machine: machine as Machine,
  command: command.replace(/\\\n\s*/g, ""),
}));

const folder = tempFolder({
  "bin/task-engine": `#!/bin/sh\nexec ${taskEngine.join(" ")} "$@"\n`,
  "bin/ssh": `#!/bin/sh\nshift\ncd ${"$"}ROBOT_HOME && HOME=${"$"}ROBOT_HOME exec ${cable?.at("robot").join(" ")} sh -c "${"$"}*"\n`,
});
const homes = { robot: folder.at("robot"), laptop: folder.at("laptop") };
const spawnAt = (machine: Machine, command: string) =>
  Bun.spawn([...(cable?.at(machine) ?? []), "sh", "-c", command], {
    cwd: homes[machine],
    env: {
      PATH: `${folder.at("bin")}:${process.env.PATH}`,
      HOME: homes[machine],
      ROBOT_HOME: homes.robot,
      TASK_ENGINE_STATE: folder.at("state"),
    },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
const runAt = async (machine: Machine, command: string) => {
  const child = spawnAt(machine, command);
  const [exitCode, stdout, stderr] = await Promise.all([child.exited, child.stdout.text(), child.stderr.text()]);
  return { exitCode, stdout, stderr };
};

let engine: ReturnType<typeof spawnAt> | undefined;
beforeAll(() => {
  for (const name of ["bin/task-engine", "bin/ssh"]) chmodSync(folder.at(name), 0o755);
  for (const home of Object.values(homes)) mkdirSync(home, { recursive: true });
});
afterAll(async () => {
  engine?.kill("SIGTERM");
  await engine?.exited;
  cable?.[Symbol.dispose]();
  folder[Symbol.dispose]();
});

test("the README needs at most four commands", () => {
  expect(steps.length).toBeGreaterThan(2);
  expect(steps.length).toBeLessThanOrEqual(4);
  expect(steps.at(-1)?.command).toContain("task-engine send");
});

test.skipIf(cable === null && process.env.CI === undefined)(
  "the README's commands for two machines let the laptop in at the robot, and nobody else",
  async () => {
    expect(cable).not.toBeNull();
    let answer = "";
    for (const { machine, command } of steps) {
      if (command.startsWith("task-engine serve")) {
        engine = spawnAt(machine, `exec ${command}`);
        await untilReady(engine.stdout);
        continue;
      }
      const { exitCode, stdout, stderr } = await runAt(machine, command);
      expect(`${command}: ${exitCode} ${exitCode === 0 ? "" : stderr}`).toBe(`${command}: 0 `);
      answer = stdout;
    }
    expect(answer).toBe("5\n");
    // What the laptop's owner does next, as the README goes on.
    const router = `--router tcp://${robotAddress}:9000 --server-key engine.key`;
    for (const verb of ["data put x 1", "data get x", "status", "tasks", "estop", "reset"]) {
      const { exitCode, stderr } = await runAt("laptop", `task-engine ${verb} ${router}`);
      expect([verb, exitCode, stderr]).toEqual([verb, 0, ""]);
    }
    expect((await runAt("laptop", `task-engine cancel x ${router}`)).stderr).toContain("UNKNOWN_SERIAL");
    expect(
      (await runAt("laptop", `task-engine send count 1 2 --direct tcp://${robotAddress}:10000 --server-key engine.key`))
        .stdout,
    ).toBe("3\n");
    await runAt("laptop", "task-engine keygen stranger --dir .");
    for (const key of ["stranger.key_secret", "none"]) {
      const { exitCode, stdout } = await runAt(
        "laptop",
        `task-engine send count 2 3 --wait 1500 --key ${key} ${router}`,
      );
      expect([exitCode, stdout]).toEqual([3, ""]);
    }
    // Nothing but what is encrypted is on the cable's robot end: an engine without keys does not start there.
    const open = await runAt(
      "robot",
      `task-engine serve --host ${robotAddress} --port 9100 --backend-port 9101 --worker-port 9102`,
    );
    expect(open.stderr).toContain("can be reached from other machines");
  },
);

const untilReady = async (output: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> => {
  let printed = "";
  for await (const text of output.pipeThrough(new TextDecoderStream())) {
    printed += text;
    if (printed.includes("[ENGINE] Ready")) return;
  }
  throw new Error(`the engine did not get ready:\n${printed}`);
};
