/**
 * The executable in poor surroundings: a user whom the system does not know, no home folder, or one that is none, no temporary folder,
 * no PATH, no stdin, a disk that cannot be written, a library that is not installed. `BINARY=path` names one that is there already.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout } from "bun:test";
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { addonPath } from "../../../src/transport/zmq/addon.ts";
import { test } from "../../support/concurrent.ts";
import { type CommandResult, type Engine, oneWorker, runCommand, startEngine } from "../../support/engine.ts";
import { builtExecutable } from "../../support/executable.ts";
import { freePorts } from "../../support/ports.ts";

setDefaultTimeout(300_000); // they wait for one another

const workshop = realpathSync(mkdtempSync(join(tmpdir(), "task-engine-test-")));
const given = process.env.BINARY;
const uid = 12_345;
const asRoot = test.skipIf(process.geteuid?.() !== 0);
/** Runs a program as a user without a passwd entry. */
const asNobody = ["setpriv", "--reuid", `${uid}`, "--regid", `${uid}`, "--clear-groups"];
let binary = "";

const folderFor = (user: number, name: string): string => {
  const folder = join(workshop, name);
  mkdirSync(folder);
  chownSync(folder, user, -1);
  return folder;
};

beforeAll(async () => {
  chmodSync(workshop, 0o755);
  binary = given === undefined ? await builtExecutable() : resolve(given);
});
afterAll(() => rmSync(workshop, { recursive: true }));

const run = (env: Record<string, string>, args: readonly string[], prefix: readonly string[] = asNobody) =>
  runCommand(
    [...prefix, "env", "-i", ...Object.entries(env).map(([name, value]) => `${name}=${value}`), binary],
    args,
    {
      env: { PATH: process.env.PATH ?? "" },
      cwd: workshop,
    },
  );

/** It says in one line what is wrong. */
const expectOneLine = ({ stdout, stderr, exitCode }: CommandResult, code: number): string => {
  expect({ stdout, exitCode, lines: stderr.trimEnd().split("\n").length }).toEqual({
    stdout: "",
    exitCode: code,
    lines: 1,
  });
  expect(stderr).toStartWith("task-engine: ");
  return stderr;
};

/** An engine of a user whom the system does not know, in an empty environment. */
const startNobodysEngine = (): Promise<Engine> => {
  const state = folderFor(uid, "state");
  return startEngine({
    command: [...asNobody, "env", "-i", binary],
    cwd: workshop,
    env: { PATH: process.env.PATH ?? "" },
    state,
    flags: ["--state", state, "--task-workers", "1"],
  });
};

const asOther = ["setpriv", "--reuid", `${uid + 1}`, "--regid", `${uid}`, "--clear-groups"];

asRoot("without HOME and passwd entry every verb does its work, other users' commands where they may", async () => {
  await using engine = await startNobodysEngine();
  const verb = (...args: string[]) => run({ TASK_ENGINE_ROUTER: engine.endpoint }, args);
  expect(await verb("send", "count", "2", "3")).toEqual({ exitCode: 0, stdout: "5\n", stderr: "" });
  expect(await verb("tasks")).toEqual({ exitCode: 0, stdout: "count\n", stderr: "" });
  expect(await verb("data", "put", "pose", "1")).toEqual({ exitCode: 0, stdout: "", stderr: "" });
  expect(await verb("data", "get", "pose")).toEqual({ exitCode: 0, stdout: "1\n", stderr: "" });
  expect(await verb("status")).toMatchObject({ exitCode: 0, stderr: "" });
  expect(await verb("bench", "--samples", "10")).toMatchObject({ exitCode: 0, stderr: "" });
  expect(expectOneLine(await verb("cancel", "x"), 1)).toContain("UNKNOWN_SERIAL");
  expect(await verb("service")).toMatchObject({ exitCode: 0, stderr: "" });
  expect(await verb("keygen", "robot", "--dir", folderFor(uid, "keys"))).toMatchObject({ exitCode: 0 });
  expect(await verb("estop")).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/^stopped since /) });
  expect(await verb("reset")).toMatchObject({ exitCode: 0 });

  // Only the engine's own user and root may reload it.
  const refused = await run({ TASK_ENGINE_ROUTER: engine.endpoint }, ["reload"], asOther);
  expect(expectOneLine(refused, 1)).toContain("run reload as its user or as root (sudo)");
  expect(engine.lines.filter((line) => line.includes("are replaced"))).toEqual([]);
  expect(await verb("reload")).toMatchObject({ exitCode: 0 });
  expect(await run({ TASK_ENGINE_ROUTER: engine.endpoint }, ["reload"], [])).toMatchObject({ exitCode: 0 });

  // Whoever asks, `estop` finds the engine's socket wherever its state folder is, if the router hangs.
  process.kill(engine.pidsOf("router")[0] ?? 0, "SIGSTOP");
  const stopped = await run({}, ["estop", "--router", engine.endpoint], asOther);
  expect(stopped).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/^stopped since /) });
});

asRoot("`estop` believes no socket that another user has made in place of the engine's", async () => {
  const port = freePorts(1);
  const folder = folderFor(uid, `${port}`);
  const path = join(folder, "stop.sock");
  await using _ = await fakeEngine(path);
  const stopped = await run({}, ["estop", "--wait", "300", "--router", `tcp://127.0.0.1:${port}`], asOther);
  expect(expectOneLine(stopped, 3)).toContain("NOT known to be stopped");
});

/** Another user's program that confirms every stop. */
const fakeEngine = async (path: string): Promise<AsyncDisposable> => {
  const script = `Bun.listen({ unix: ${JSON.stringify(path)}, socket: { data: (socket) => { socket.end('{"reason":"","since":1}\\n'); } } });
    require("node:fs").chmodSync(${JSON.stringify(path)}, 0o666); console.log("listening");`;
  const child = Bun.spawn([...asNobody, "env", "-i", "BUN_BE_BUN=1", binary, "-e", script], {
    stdout: "pipe",
    cwd: workshop,
  });
  const reader = child.stdout.getReader();
  expect(Buffer.from((await reader.read()).value ?? []).toString()).toBe("listening\n");
  return {
    [Symbol.asyncDispose]: async () => {
      child.kill();
      await child.exited;
    },
  };
};

describe("a verb that needs a home folder says in one line which flag does without", () => {
  const homes: Readonly<Record<string, () => string | null>> = {
    "that is not named": () => null,
    "that is empty": () => "",
    "that is relative": () => "home",
    "that is not there": () => "/nonexistent",
    "that is a file": () => {
      writeFileSync(join(workshop, "file"), "");
      return join(workshop, "file");
    },
    "that is another user's": () => {
      chmodSync(folderFor(0, "locked"), 0o700);
      return join(workshop, "locked");
    },
  };
  for (const [what, home] of Object.entries(homes)) {
    asRoot(`for one ${what}`, async () => {
      const path = home();
      const env: Record<string, string> = path === null ? {} : { HOME: path };
      expect(expectOneLine(await run(env, ["serve", "--port", `${freePorts(1)}`]), 1)).toContain("--state");
      const keygen = await run(env, ["keygen", "robot"]);
      expect(expectOneLine(keygen, keygen.exitCode)).toContain("--dir");
      expect(keygen.exitCode).toBeGreaterThan(0);
      expect(await run({ ...env, TASK_ENGINE_ROUTER: "tcp://127.0.0.1:1" }, ["status", "--wait", "100"])).toMatchObject(
        { exitCode: 3 },
      );
    });
  }
});

test("a key without the engine's, where there is no home to look for it, is named as missing", async () => {
  const { exitCode, stderr } = await run({ HOME: "home" }, ["tasks", "--key", "/x"], []);
  expect({ exitCode, stderr }).toEqual({
    exitCode: 2,
    stderr: expect.stringContaining("name the other by --server-key (TASK_ENGINE_SERVER_KEY)"),
  });
});

describe("an engine and its verbs work", () => {
  const expectSum = async (prefix: readonly string[], env: Record<string, string>, cwd: string): Promise<void> => {
    const command = [...prefix, binary];
    await using engine = await startEngine({ command, cwd, env, flags: oneWorker });
    const sum = await engine.run("send", "count", "2", "3", "--router", engine.endpoint);
    expect(sum).toEqual({ exitCode: 0, stdout: "5\n", stderr: "" });
    expect(engine.errorLines).toEqual([]);
    expect(await engine.run("estop", "--router", engine.endpoint)).toMatchObject({ exitCode: 0 });
  };
  const variables = [
    "TMPDIR",
    "XDG_STATE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
  ];

  const allSetTo = (value: string) => Object.fromEntries([...variables, "HOME", "PATH"].map((name) => [name, value]));

  test("where each folder of the environment is relative", async () => {
    await expectSum([], allSetTo("relative"), workshop);
  });

  test("where each folder of the environment is /dev/null, with stdin closed", async () => {
    await expectSum(["/bin/sh", "-c", 'exec "$@" <&-', "sh"], allSetTo("/dev/null"), workshop);
  });

  asRoot("where nothing can be written but the state folder", async () => {
    const readOnly =
      'mount --bind "$TASK_ENGINE_STATE" "$TASK_ENGINE_STATE" && mount -o remount,ro,bind / && exec "$@"';
    await expectSum(["unshare", "--mount", "/bin/sh", "-c", readOnly, "sh"], { PATH: process.env.PATH ?? "" }, "/");
  });
});

describe("a system that lacks a library is told which package has it", () => {
  const needs = (library: string, name: string): string =>
    `this program needs ${library}, which this system lacks; install it: apt install ${name}`;

  /** A root with the executable and what it is linked to, which is the C library alone; and what runs it there. */
  const bareRoot = (): { root: string; runThere: (...args: string[]) => Promise<CommandResult> } => {
    const root = join(workshop, "root");
    const linked =
      Bun.spawnSync(["ldd", binary])
        .stdout.toString()
        .match(/\/\S+(?= \()/g) ?? [];
    for (const path of linked) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      copyFileSync(path, join(root, path));
    }
    for (const folder of ["dev", "proc", "tmp"]) mkdirSync(join(root, folder));
    copyFileSync(binary, join(root, "task-engine"));
    chmodSync(join(root, "task-engine"), 0o755);
    const enter = `mount -t proc proc ${root}/proc && mount --bind /dev ${root}/dev && exec chroot ${root} /task-engine "$@"`;
    const command = ["unshare", "--mount", "/bin/sh", "-c", enter, "sh"];
    return { root, runThere: (...args) => runCommand(command, args, { env: { PATH: process.env.PATH ?? "" } }) };
  };

  asRoot("by each verb that needs it, before anything else of the engine runs", async () => {
    const { root, runThere } = bareRoot();
    const message = needs("libstdc++.so.6", "libstdc++6");
    expect(await runThere("--version")).toMatchObject({ exitCode: 0 });
    expect(expectOneLine(await runThere("serve", "--port", `${freePorts(1)}`), 1)).toBe(`task-engine: ${message}\n`);
    expect(expectOneLine(await runThere("keygen", "robot", "--dir", "/tmp"), 1)).toBe(`task-engine: ${message}\n`);
    const client = ["--router", `tcp://127.0.0.1:${freePorts(1)}`, "--wait", "300"];
    for (const verb of [["send", "count"], ["status"], ["estop"]]) {
      expect(expectOneLine(await runThere(...verb, ...client), 1)).toContain(message);
    }
    expect(expectOneLine(await runThere("worker", "--router", "tcp://127.0.0.1:9"), 1)).toContain(message);
    const library =
      Bun.spawnSync(["ldd", addonPath])
        .stdout.toString()
        .match(/\/\S+libstdc\S+/)?.[0] ?? "";
    copyFileSync(library, join(root, library));
    expect(expectOneLine(await runThere("keygen", "robot", "--dir", "/tmp"), 1)).toContain(
      needs("libgcc_s.so.1", "libgcc-s1"),
    );
  });

  test("or what else is wrong with it", async () => {
    const broken = join(workshop, "broken");
    mkdirSync(broken);
    writeFileSync(join(broken, "libstdc++.so.6"), "no library at all");
    const { exitCode, stderr } = await runCommand([binary], ["keygen", "robot", "--dir", workshop], {
      env: { LD_LIBRARY_PATH: broken },
    });
    expect({ exitCode, stderr }).toEqual({
      exitCode: 1,
      stderr: `task-engine: libzmq cannot be loaded: ${broken}/libstdc++.so.6: file too short\n`,
    });
  });
});
