/**
 * The executable where somebody means it ill: what waits for it in the temporary folder, in its own folder, in its environment;
 * and in the confinement that its systemd unit puts it in. `BINARY=path` names one that is there already.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout } from "bun:test";
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { unitText } from "../../../src/systemd/unit.ts";
import { addonPath } from "../../../src/transport/zmq/addon.ts";
import { test } from "../../support/concurrent.ts";
import { type Engine, oneWorker, runCommand, startEngine } from "../../support/engine.ts";
import { builtExecutable } from "../../support/executable.ts";
import { freePorts } from "../../support/ports.ts";

setDefaultTimeout(300_000); // they wait for one another

const workshop = mkdtempSync(join(tmpdir(), "task-engine-test-"));
const given = process.env.BINARY;
const isRoot = process.geteuid?.() === 0;
const asRoot = test.skipIf(!isRoot);
const uid = process.geteuid?.() ?? 0;
const strangerUid = uid + 12_345;
let binary = "";
let unit = "";

beforeAll(async () => {
  chmodSync(workshop, 0o755);
  binary = given === undefined ? await builtExecutable() : resolve(given);
  unit = join(workshop, "task-engine.service");
  writeFileSync(unit, unitText({ executable: binary, tasks: null, user: "task-engine", devices: [] }));
});
afterAll(() => rmSync(workshop, { recursive: true }));

const newFolder = (name: string): string => {
  const folder = join(workshop, name);
  mkdirSync(folder);
  return folder;
};

/** Loads libzmq, and ends with 3 because no engine is there. With another library it would not get as far. */
const sendToNobody = (temporary: string) => {
  const args = ["send", "count", "--router", `tcp://127.0.0.1:${freePorts(1)}`, "--wait", "100"];
  return runCommand([binary], args, { cwd: workshop, env: { TMPDIR: temporary } });
};

describe("the library that it unpacks", () => {
  /** A temporary folder in which it has run once; the path of the library, and what is in it. */
  const used = async (name: string) => {
    const folder = newFolder(name);
    expect(await sendToNobody(folder)).toMatchObject({ exitCode: 3 });
    const own = join(folder, `task-engine-${uid}`);
    const [file = ""] = readdirSync(own);
    const library = join(own, file);
    return { folder, own, library, content: readFileSync(library) };
  };
  const modeOf = (path: string): number => lstatSync(path).mode & 0o777;

  test("lies in a folder of its user's alone, and nothing else is left there", async () => {
    const { folder, own, library, content } = await used("library");
    expect(readdirSync(folder)).toEqual([`task-engine-${uid}`]);
    expect(readdirSync(own)).toHaveLength(1);
    expect([modeOf(own), modeOf(library)]).toEqual([0o700, 0o600]);
    expect(content.equals(readFileSync(addonPath))).toBe(true);
  });

  test("is unpacked once, however many processes start at the same time, and all of them load that one file", async () => {
    const folder = newFolder("at-once");
    await using engine = await startEngine({ command: [binary], cwd: folder, env: { TMPDIR: folder } });
    const [file = ""] = readdirSync(join(folder, `task-engine-${uid}`));
    const { ino } = statSync(join(folder, `task-engine-${uid}`, file));
    for (const pid of engine.childPids) {
      const mapped = readFileSync(`/proc/${pid}/maps`, "utf8").match(new RegExp(` ${ino} .*${file}$`, "m"));
      expect(mapped).not.toBeNull();
    }
  });

  /** What may stand in its place, of the right size. */
  const intruder = (size: number): Uint8Array => new Uint8Array(size).fill(0x41);
  const intrusions: Readonly<Record<string, (library: string, size: number) => void>> = {
    "a file of the same size": (library, size) => writeFileSync(library, intruder(size), { mode: 0o600 }),
    "one with a single other byte": (library) => {
      const bytes = readFileSync(library);
      bytes[bytes.length - 1] = (bytes[bytes.length - 1] ?? 0) ^ 1;
      writeFileSync(library, bytes);
    },
    "half of it": (library, size) => writeFileSync(library, readFileSync(library).subarray(0, size / 2)),
    "a link to another file": (library, size) => {
      rmSync(library);
      writeFileSync(`${library}.other`, intruder(size), { mode: 0o600 });
      symlinkSync(`${library}.other`, library);
    },
    "a second name of another file": (library, size) => {
      rmSync(library);
      writeFileSync(`${library}.other`, intruder(size), { mode: 0o600 });
      linkSync(`${library}.other`, library);
    },
    "the library in a mode in which others can write it": (library) => chmodSync(library, 0o666),
  };
  for (const [what, intrude] of Object.entries(intrusions)) {
    test(`is not loaded, but unpacked anew, if in its place is ${what}`, async () => {
      const { folder, library, content } = await used(what.replaceAll(" ", "-"));
      intrude(library, content.length);
      expect(await sendToNobody(folder)).toMatchObject({ exitCode: 3, stdout: "" });
      expect(lstatSync(library).isFile()).toBe(true);
      expect(modeOf(library)).toBe(0o600);
      expect(readFileSync(library).equals(content)).toBe(true);
    });
  }

  test("is loaded from memory if a folder is in its place", async () => {
    const { folder, library } = await used("a-folder");
    rmSync(library);
    mkdirSync(library);
    expect(await sendToNobody(folder)).toMatchObject({ exitCode: 3, stdout: "" });
  });

  asRoot("is unpacked anew if the file is another user's", async () => {
    const { folder, library, content } = await used("another-users-file");
    writeFileSync(library, intruder(content.length));
    chownSync(library, strangerUid, -1);
    expect(await sendToNobody(folder)).toMatchObject({ exitCode: 3, stdout: "" });
    expect(statSync(library).uid).toBe(uid);
    expect(readFileSync(library).equals(content)).toBe(true);
  });

  const takenFolder = async (name: string, take: (own: string) => void) => {
    const folder = newFolder(name);
    const own = join(folder, `task-engine-${uid}`);
    take(own);
    const before = readdirSync(own);
    await using engine = await startEngine({
      command: [binary],
      cwd: folder,
      env: { TMPDIR: folder },
      flags: oneWorker,
    });
    for (const pid of engine.childPids) {
      const maps = readFileSync(`/proc/${pid}/maps`, "utf8");
      expect(maps).toContain("/memfd:libzmq");
      expect(maps).not.toContain(folder);
    }
    expect(readdirSync(own)).toEqual(before);
  };

  asRoot("is loaded from memory if another user has made the folder first", async () => {
    await takenFolder("another-users-folder", (own) => {
      mkdirSync(own, { mode: 0o700 });
      chownSync(own, strangerUid, -1);
    });
  });

  test("is loaded from memory if others can write the folder, or it is a link", async () => {
    await takenFolder("open-folder", (own) => {
      mkdirSync(own);
      chmodSync(own, 0o777);
    });
    await takenFolder("linked-folder", (own) => symlinkSync(newFolder("elsewhere"), own));
  });
});

/** A folder to start in, in which everything is foreign; what it would leave behind; an environment that names it. */
const hostile = (name: string) => {
  const folder = newFolder(name);
  const mark = join(folder, "obeyed");
  const script = join(folder, "intruder.ts");
  const library = join(folder, "intruder.so");
  writeFileSync(script, `require("node:fs").writeFileSync(${JSON.stringify(mark)}, "");`);
  copyFileSync(addonPath, library);
  writeFileSync(join(folder, "libc.so.6"), "no library at all");
  writeFileSync(join(folder, "bunfig.toml"), 'preload = ["./intruder.ts"]\n');
  writeFileSync(join(folder, ".env"), "TASK_ENGINE_TASK_WORKERS=not-a-number\nBUN_OPTIONS=--preload=./intruder.ts\n");
  writeFileSync(join(folder, "tsconfig.json"), '{ "compilerOptions": { "paths": { "*": ["./intruder.ts"] } } }');
  writeFileSync(join(folder, "package.json"), '{ "name": "task-engine", "version": "9.9.9", "imports": "no object" }');
  const environment: Record<string, string> = {
    BUN_OPTIONS: `--preload=${script}`,
    BUN_INSPECT: "ws+unix:///nonexistent",
    BUN_INSPECT_PRELOAD: script,
    NODE_OPTIONS: `--require ${script}`,
    NODE_PATH: folder,
    LD_PRELOAD: library,
    LD_LIBRARY_PATH: folder,
    BUN_BE_BUN: "1",
    TMPDIR: folder,
  };
  const isLoadedBy = (pid: number): boolean => readFileSync(`/proc/${pid}/maps`, "utf8").includes(library);
  return { folder, environment, isLoadedBy, wasObeyed: (): boolean => existsSync(mark) };
};

const expectSum = async (engine: Engine): Promise<void> => {
  const surroundings = { cwd: workshop, env: {} };
  const sum = await runCommand([binary], ["send", "count", "2", "3", "--router", engine.endpoint], surroundings);
  expect(sum).toEqual({ exitCode: 0, stdout: "5\n", stderr: "" });
};

test("no foreign code runs in it or its children in a hostile folder, with what its unit leaves of a hostile environment", async () => {
  const { folder, environment, isLoadedBy, wasObeyed } = hostile("hostile");
  const unset = /^UnsetEnvironment=(.*)$/m.exec(readFileSync(unit, "utf8"))?.[1]?.split(" ") ?? [];
  const env = Object.fromEntries(Object.entries(environment).filter(([name]) => !unset.includes(name)));
  expect(env).toEqual({});
  await using engine = await startEngine({ command: [binary], cwd: folder, env });
  await expectSum(engine);
  expect(engine.childPids).toHaveLength(4);
  for (const pid of [engine.pid, ...engine.childPids]) expect(isLoadedBy(pid)).toBe(false);
  expect(wasObeyed()).toBe(false);
});

test("started by hand, it hands a library that was forced on itself to none of its children", async () => {
  const { folder, environment, isLoadedBy } = hostile("by-hand");
  const { LD_PRELOAD = "", NODE_PATH = "" } = environment;
  await using engine = await startEngine({
    command: [binary],
    cwd: folder,
    env: { LD_PRELOAD, NODE_PATH },
    flags: oneWorker,
  });
  expect(isLoadedBy(engine.pid)).toBe(true); // which is what nobody but who starts it can prevent
  for (const pid of engine.childPids) expect(isLoadedBy(pid)).toBe(false);
});

/** Emulated, the processor is another than the kernel's, and a filter of system calls would be for the wrong one. */
const isNative = (): boolean => readFileSync(binary).readUInt16LE(18) === (process.arch === "arm64" ? 183 : 62); // e_machine, elf(5)

const canConfine = isRoot && existsSync("/usr/bin/python3") && Bun.which("systemd-analyze") !== null;

test.skipIf(!canConfine)(
  "it serves under the restrictions of its unit, and can do no more than they allow",
  async () => {
    if (!isNative()) return;
    const folder = newFolder("state");
    mkdirSync(join(folder, "tasks"));
    writeFileSync(
      join(folder, "tasks/probe.ts"),
      `import { writeFileSync, readFileSync, readdirSync } from "node:fs";
     const attempt = (what: () => unknown): string => { try { return String(what()); } catch (error) { return (error as { code: string }).code; } };
     export const task_probe = () => ({
       write: attempt(() => writeFileSync("/etc/intruder", "")),
       state: attempt(() => writeFileSync("kept", "")),
       temporary: attempt(() => writeFileSync("/tmp/kept", "")),
       shadow: attempt(() => readFileSync("/etc/shadow")),
       home: attempt(() => readdirSync("/root").length),
       others: attempt(() => readFileSync("/proc/1/status")),
       namespace: Bun.spawnSync(["unshare", "--user", "true"]).success,
     });`,
    );
    writeFileSync(join(folder, "tasks/drive.py"), "def task_drive(): return 'there'\n");
    const confine = ["/usr/bin/python3", join(import.meta.dir, "../../systemd/restricted.py"), unit, folder];
    // As systemd says where the folder of StateDirectory= is.
    const state = { STATE_DIRECTORY: folder, TASK_ENGINE_STATE: "" };
    const env = { PATH: process.env.PATH ?? "", LC_ALL: "C.UTF-8", ...state };
    await using engine = await startEngine({ command: [...confine, binary], cwd: folder, env });
    await expectSum(engine);
    const args = ["send", "probe", "--router", engine.endpoint];
    const probe = await runCommand([binary], args, { cwd: workshop, env: {} });
    expect(JSON.parse(probe.stdout)).toEqual({
      write: "EROFS",
      state: "undefined",
      temporary: "undefined",
      shadow: "EACCES",
      home: "0",
      others: "ENOENT",
      namespace: false,
    });
    const drive = ["send", "drive", "--router", engine.endpoint];
    expect(await runCommand([binary], drive, { cwd: workshop, env: {} })).toMatchObject({ stdout: "there\n" });
    const status = readFileSync(`/proc/${engine.childPids[0]}/status`, "utf8");
    expect(status).toMatch(/^NoNewPrivs:\s1$/m);
    expect(status).toMatch(/^Seccomp:\s2$/m);
    expect(status).toMatch(/^CapBnd:\s0+$/m);
    const users = readFileSync(`/proc/${engine.childPids[0]}/uid_map`, "utf8").trim().split("\n");
    expect(users.map((line) => line.trim().split(/\s+/)[0])).toEqual(["0", "54321"]);
    expect(engine.errorLines).toEqual([]);

    // Root gets through to its supervisor, be it that the router hangs.
    process.kill(engine.pidsOf("router")[0] ?? 0, "SIGSTOP");
    const estop = ["estop", "--state", folder, "--router", engine.endpoint];
    const stopped = await runCommand([binary], estop, { cwd: workshop, env: {} });
    expect(stopped).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/^stopped since /) });
    engine.signal("SIGTERM");
    expect(await engine.ended()).toBe(0);
    expect(existsSync(join(folder, `${engine.ports.frontend}/stopped`))).toBe(true);
  },
);
