/** What is written where it cannot be: nobody reads, nobody reads any more, the disk is full. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout } from "bun:test";
import { readFileSync, statSync } from "node:fs";
import { connect } from "task-engine";
import { test } from "../../support/concurrent.ts";
import { type Engine, oneWorker, startEngine } from "../../support/engine.ts";
import { taskEngine } from "../../support/executable.ts";
import { handRouter } from "../../support/hand-router.ts";
import { freePorts } from "../../support/ports.ts";
import { type TempFolder, tempFolder } from "../../support/temp-folder.ts";

setDefaultTimeout(300_000); // they wait for one another

const tasks = `
  const big = "y".repeat(10_000);
  export const task_pid = () => process.pid;
  export const task_big = ([length]) => "y".repeat(length);
  export const task_log = (_args, _kwargs, { log }) => log(big);
  export const task_throw = () => { throw new Error(big); };
  export const task_console = () => console.log(big);
  export const task_consoleError = () => console.error(big);
  export const task_write = () => void process.stdout.write(big);
  export const task_writeError = () => void process.stderr.write(big);
  export const task_take = () => null;
  export const task_photo = { moves: false, everyMs: 3_600_000, run: (_args, _kwargs, { log }) => log("click") };
`;

let folder: TempFolder;
beforeAll(() => {
  folder = tempFolder({ "tasks/robot.ts": tasks, "list.jsonl": "[2, 3]\n[4, 5]\n" });
});
afterAll(() => folder[Symbol.dispose]());

const shellPath = process.env.PATH ?? "";

describe("an engine", () => {
  /** How a shell starts it, and what it makes of its output once it is ready. */
  const outputs: Readonly<Record<string, { script: string; leaves: boolean }>> = {
    "a pipe that nobody reads any more": { script: 'exec "$@" 2>&1', leaves: true },
    "a full disk": { script: 'exec "$@" >/dev/full 2>&1', leaves: false },
    "a file that may not grow": { script: 'ulimit -f 1000; exec "$@" >"$OUT" 2>&1', leaves: false },
    "nothing, for both are closed": { script: 'exec "$@" >&- 2>&-', leaves: false },
  };
  for (const [what, { script, leaves }] of Object.entries(outputs)) {
    test(`whose output goes to ${what} loses no worker, however much is said`, async () => {
      const first = freePorts(3);
      const flags = ["--port", first, "--backend-port", first + 1, "--worker-port", first + 2].map(String);
      const more = [...oneWorker, "--verbose", "--state", folder.at(`state-${first}`)];
      const child = Bun.spawn(["bash", "-c", script, "-", ...taskEngine, "serve", ...flags, ...more], {
        cwd: folder.path,
        env: { PATH: shellPath, OUT: folder.at(`out-${first}`) },
        stdout: "pipe",
        stderr: "inherit",
      });
      try {
        if (leaves) await child.stdout.getReader().cancel();
        await using engine = connect(`tcp://127.0.0.1:${first}`, { waitMs: 20_000 });
        const pid = await engine.call("pid");
        for (const task of ["log", "throw", "console", "consoleError", "write", "writeError"]) {
          for (let times = 0; times < 3; times++) await engine.call(task).catch(() => null);
        }
        for (let times = 0; times < 20; times++) await engine.call("take", ["y".repeat(9_000)]);
        expect(await engine.call("pid")).toBe(pid);
      } finally {
        child.kill("SIGTERM");
      }
      expect(await child.exited).toBe(0);
    });
  }

  test("counts the lines that its log has no room for, and says so once there is room", async () => {
    const talker = `
      import { say } from ${JSON.stringify(`${import.meta.dir}/../../../src/process/log.ts`)};
      import { truncateSync } from "node:fs";
      for (let index = 0; index < 5; index++) say(index + " " + "x".repeat(300));
      await Bun.sleep(1);
      truncateSync(process.env.OUT, 0);
      say("room");
    `;
    const out = folder.at("log");
    const child = Bun.spawn(["bash", "-c", 'ulimit -f 1; exec "$0" -e "$1" >>"$OUT"', process.execPath, talker], {
      env: { PATH: shellPath, OUT: out },
      stderr: "inherit",
    });
    expect(await child.exited).toBe(0);
    expect(readFileSync(out, "utf8")).toBe("\n(2 lines are lost here: EFBIG: file too large)\nroom\n");
  });
});

describe("a verb", () => {
  let engine: Engine;
  /** The id of a job that has ended. */
  let photo = "";
  beforeAll(async () => {
    engine = await startEngine({ cwd: folder.path, flags: ["--task-workers", "1"] });
    await using client = connect(engine.endpoint);
    await client.publish("camera", "z".repeat(1_000), { confirm: true });
    photo = (await client.call("photo", [], {}, { detach: true })).id;
    await client.result(photo);
  });
  afterAll(async () => {
    await engine[Symbol.asyncDispose]();
  });

  const surroundings = () => ({
    env: { PATH: shellPath, HOME: folder.path, TASK_ENGINE_ROUTER: engine.endpoint, TASK_ENGINE_STATE: engine.state },
    cwd: folder.path,
  });

  /** Every verb that prints a result. */
  const verbs: readonly (readonly string[])[] = [
    ["--version"],
    ["--help"],
    ["send", "count", "2", "3"],
    ["send", "big", "1000000"],
    ["send", "count", "2", "3", "--json"],
    ["send", "count", "--batch", "list.jsonl"],
    ["tasks"],
    ["status"],
    ["status", "--json"],
    ["status", "--watch"],
    ["job", "PHOTO"],
    ["jobs"],
    ["result", "PHOTO"],
    ["logs"],
    ["schedule", "list"],
    ["pause", "photo"],
    ["resume", "photo"],
    ["data", "get", "camera"],
    ["data", "watch", "camera"],
    ["bench", "--samples", "10"],
    ["service"],
    ["keygen", "arm", "--dir", "KEYS", "--force"],
    ["init", "robot"],
    ["python"],
    ["reload"],
    ["estop"],
    ["reset"],
  ];

  /** What those that do something say of it also where it cannot be printed. */
  const deeds: Readonly<Record<string, string>> = {
    estop: "stopped since \\S+Z; task-engine reset ends it",
    reset: "reset: the engine takes jobs again",
    pause: "paused: task-engine resume photo ends it",
    resume: "resumed: jobs of photo begin again",
    reload: "reloaded: \\d+ tasks",
    cancel: "cancelled 1",
  };

  test("is in this table if it prints", async () => {
    const child = Bun.spawn([...taskEngine, "--help"], { ...surroundings(), stdout: "pipe" });
    const [, commands = ""] = (await child.stdout.text()).split("COMMANDS\n");
    const named = [...commands.matchAll(/^ +([a-z]+) {2}/gm)].map(([, name = ""]) => name);
    // Some log, some have tests of their own, and some need a dead letter or a fleet.
    const log = ["serve", "worker", "gateway", "link"];
    const others = [...log, "cancel", "token", "retry", "discard", "robots"];
    expect(named.length).toBeGreaterThan(10);
    expect(named.filter((name) => !others.includes(name) && !verbs.some(([verb]) => verb === name))).toEqual([]);
  });

  /** Two keygens of one name at once would be in each other's way. */
  const named = (arg: string, stdout: unknown): string => {
    if (arg === "KEYS") return stdout === "pipe" ? "keys" : "other-keys";
    return arg === "PHOTO" ? photo : arg;
  };

  const expectNoOutput = async (args: readonly string[]): Promise<void> => {
    const run = (stdout: "pipe" | Bun.BunFile) =>
      Bun.spawn([...taskEngine, ...args.map((arg) => named(arg, stdout))], {
        ...surroundings(),
        stdout,
        stderr: "pipe",
      });
    const [full, unread] = [run(Bun.file("/dev/full")), run("pipe")];
    if (unread.stdout instanceof ReadableStream) await unread.stdout.cancel();
    const linesOf = async ({ stderr }: typeof full): Promise<string[]> =>
      // What keygen and init say of the files that they have made goes to stderr in any case.
      (await stderr.text())
        .split("\n")
        .filter(
          (line) => line !== "" && (!["keygen", "init"].includes(args[0] ?? "") || /^task-engine|^ +at /.test(line)),
        );
    const done = deeds[args[0] ?? ""];
    const why = "cannot write to stdout: ENOSPC: no space left on device";
    expect(await linesOf(full)).toEqual([
      done === undefined
        ? `task-engine: ${why}`
        : expect.stringMatching(new RegExp(`^task-engine: ${done} \\(${why}\\)$`)),
    ]);
    expect(await full.exited).toBe(1);
    expect(await linesOf(unread)).toEqual([]);
    expect(await unread.exited).toBe(0);
  };

  /** While one of these is at work, the engine serves the others otherwise. */
  const runAlone = ["reload", "estop", "reset"];
  const howItEnds = "exits with 1 and one line if the disk is full, and silently with 0 if its reader has gone";
  for (const args of verbs) {
    const run = runAlone.includes(args[0] ?? "") ? test.serial : test;
    run(`${args.join(" ")} ${howItEnds}`, () => expectNoOutput(args));
  }

  test(`cancel ${howItEnds}`, async () => {
    using router = handRouter();
    router.serve((arrived) => arrived.ack({ cancelled: 1 }));
    await expectNoOutput(["cancel", "s-1", "--router", router.endpoint]);
  });

  test("token says that nobody knows the token if the disk is full", async () => {
    const child = Bun.spawn([...taskEngine, "token", "anna", "control", "--tokens", folder.at("tokens")], {
      ...surroundings(),
      stdout: Bun.file("/dev/full"),
      stderr: "pipe",
    });
    const lines = (await child.stderr.text()).split("\n");
    expect(lines).toContainEqual(
      "task-engine: cannot write to stdout: ENOSPC: no space left on device; " +
        `nobody knows the token: delete the line of anna in ${folder.at("tokens")}`,
    );
    expect(await child.exited).toBe(1);
  });

  /** Runs a verb in a shell: `"$@"` is the verb. Gives what the shell prints, and what the verb said and ended with. */
  const shell = async (script: string, ...args: readonly string[]) => {
    const child = Bun.spawn(["bash", "-c", script, "-", ...taskEngine, ...args], {
      ...surroundings(),
      stdout: "pipe",
      stderr: "pipe",
    });
    const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    return { stdout: stdout.trim(), stderr, exitCode: await child.exited };
  };

  test("says that the disk has become full also where a part of the result did fit", async () => {
    const script = `ulimit -f 8; "$@" >${folder.at("partial")}`;
    const line = "task-engine: cannot write to stdout: EFBIG: file too large\n";
    expect(await shell(script, "send", "big", "1000000")).toEqual({ exitCode: 1, stdout: "", stderr: line });
    expect(statSync(folder.at("partial")).size).toBe(8 * 1024);
  });

  test("gives all of a large result to a reader that reads slowly", async () => {
    const slow = 'set -o pipefail; "$@" | (sleep 0.3; head -c 100000 | wc -c; sleep 0.1; wc -c)';
    const { exitCode, stdout, stderr } = await shell(slow, "send", "big", "1000000");
    expect({ exitCode, stderr, parts: stdout.split("\n") }).toEqual({
      exitCode: 0,
      stderr: "",
      parts: ["100000", "900001"],
    });
  });

  test("that follows a topic ends in silence when its reader has had enough in the middle of a value", async () => {
    const enough = 'set -o pipefail; "$@" | head -c 120 | wc -c';
    const watching = shell(enough, "data", "watch", "camera");
    await using client = connect(engine.endpoint);
    let isOver = false;
    void watching.then(() => {
      isOver = true;
    });
    while (!isOver) await client.publish("camera", "z".repeat(200_000), { confirm: true });
    expect(await watching).toEqual({ exitCode: 0, stdout: "120", stderr: "" });
  });
});
