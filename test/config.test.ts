import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ConfigError, configFlags, loadConfig } from "../src/config.ts";
import { stateFolder } from "../src/security/state-folders.ts";

setDefaultTimeout(60_000); // a busy machine computes slowly

const root = mkdtempSync(join(realpathSync(tmpdir()), "task-engine-config-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** A folder of its own for one test, with a configuration file if `toml` is given. */
const folderWith = (toml?: string): string => {
  const folder = mkdtempSync(join(root, "case-"));
  if (toml !== undefined) writeFileSync(join(folder, "task-engine.toml"), toml, { mode: 0o644 });
  return folder;
};

const load = (toml?: string, flags: Record<string, unknown> = {}, environment: Record<string, string> = {}) =>
  loadConfig({ flags, environment, folder: folderWith(toml) });

const mistakesOf = async (loading: Promise<unknown>): Promise<readonly string[]> => {
  const failure = await loading.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (!(failure instanceof ConfigError)) throw new Error(`expected a ConfigError, got ${failure}`);
  expect(failure.message).not.toContain("\n");
  return failure.mistakes;
};

test("without any settings, the defaults of the design hold", async () => {
  const folder = folderWith();
  expect(await loadConfig({ flags: {}, environment: {}, folder })).toEqual({
    host: "127.0.0.1",
    port: 9000,
    backendPort: 9001,
    workerPort: 10_000,
    dataPort: 9002,
    historyMs: 60_000,
    historyBytes: 32 * 1024 * 1024,
    dataBytesMax: 8 * 1024 * 1024,
    taskWorkers: 2,
    dataWorkers: 1,
    pythonWorkers: 1,
    python: null,
    workerJobsMax: null,
    workerMemoryMax: null,
    tasks: null,
    tasksIfAny: join(folder, "tasks"),
    graceMs: 5000,
    stopGraceMs: 100,
    onStop: null,
    state: stateFolder({}) ?? "",
    restartsMax: 5,
    restartWindowMs: 60_000,
    key: null,
    authorized: null,
    http: null,
    tokens: null,
    tlsCert: null,
    tlsKey: null,
    nats: null,
    robot: null,
    groups: null,
    natsCreds: null,
    natsCa: null,
    natsCert: null,
    natsKey: null,
    insecure: false,
    verbose: false,
    env: {},
    schedules: [],
    link: { allow: [], mirror: [] },
  });
});

test("a flag comes before the environment, the environment before the file, the file before the default", async () => {
  const toml = "port = 1001\nbackend-port = 1002\nworker-port = 1010\nverbose = true";
  const environment = { TASK_ENGINE_PORT: "2001", TASK_ENGINE_BACKEND_PORT: "2002" };
  const config = await load(toml, { port: "3001" }, environment);
  expect(config).toMatchObject({ port: 3001, backendPort: 2002, workerPort: 1010, taskWorkers: 2, verbose: true });
});

test("an empty variable is one that is not set", async () => {
  expect(await load("port = 1001", {}, { TASK_ENGINE_PORT: "" })).toMatchObject({ port: 1001 });
});

test("the variable by which other verbs find the engine is no mistake", async () => {
  expect(
    await load("", {}, { TASK_ENGINE_SERVER_KEY: "/keys/engine.key", TASK_ENGINE_ROUTER: "tcp://127.0.0.1:9000" }),
  ).toMatchObject({ port: 9000 });
});

test("a switch can be set by flag and by variable, also to false", async () => {
  expect(await load("", { verbose: true })).toMatchObject({ verbose: true });
  expect(await load("verbose = true", {}, { TASK_ENGINE_VERBOSE: "0" })).toMatchObject({ verbose: false });
});

test("every setting has a flag with a description, and --config stands beside them", () => {
  expect(Object.keys(configFlags)).toEqual([
    "config",
    "host",
    "port",
    "backend-port",
    "worker-port",
    "data-port",
    "task-workers",
    "python-workers",
    "python",
    "data-workers",
    "history-ms",
    "history-bytes",
    "data-bytes-max",
    "worker-jobs-max",
    "worker-memory-max",
    "tasks",
    "key",
    "authorized",
    "http",
    "tokens",
    "tls-cert",
    "tls-key",
    "nats",
    "robot",
    "groups",
    "nats-creds",
    "nats-ca",
    "nats-cert",
    "nats-key",
    "insecure",
    "grace-ms",
    "stop-grace-ms",
    "on-stop",
    "state",
    "restarts-max",
    "restart-window-ms",
    "verbose",
  ]);
  expect(configFlags.port).toEqual({
    type: "string",
    valueHint: "port",
    description: "Port for requestors (default: 9000)",
  });
});

test("what the fleet may is a list of rights, and the settings of the link go together", async () => {
  const link = '[link]\nallow = ["send:count,photo", "read:pose"]';
  expect((await load(`nats = "nats://hub"\nrobot = "r7"\n${link}`)).link.allow).toEqual([
    "send:count,photo",
    "read:pose",
  ]);
  expect((await load('[link]\nmirror = ["pose@5", "battery/@0.2"]')).link.mirror).toEqual(["pose@5", "battery/@0.2"]);
  const wrong = '[link]\nmirror = ["pose", "pose@0", "pose@101", "@1", "$engine/jobs@1", "a b@1", "a*@1", "a..b@1"]';
  expect(await mistakesOf(load(wrong))).toEqual(
    Array(8).fill(expect.stringMatching(/link\.mirror: ".*" is not PREFIX@HZ/)),
  );
  expect(await mistakesOf(load("[link]\nmirror = 5"))).toEqual([expect.stringMatching(/link\.mirror: must be a list/)]);
  expect(await mistakesOf(load('robot = "r7"\n[link]\nallow = ["fly"]\nmirrors = 1'))).toEqual([
    expect.stringMatching(/link\.mirrors: there is no such setting; it has allow and mirror$/),
    expect.stringMatching(/link\.allow: has the right "fly", which is not one of/),
    expect.stringMatching(/robot: is for a fleet, which takes --nats nats:\/\/HOST:PORT$/),
  ]);
  expect(await mistakesOf(load('nats = "hub"\nrobot = "all"'))).toHaveLength(2);
  expect(await mistakesOf(load('nats = "nats://hub"'))).toEqual([
    expect.stringMatching(/nats: a robot of a fleet needs a name; give --robot NAME$/),
  ]);
});

test("a mistake is named with the place it stands in, and all of them are told at once", async () => {
  const toml = 'port = "9000"\nhots = 1\ntask-workers = 1.5\n[env]\nA = 1\nLD_PRELOAD = "x.so"\n"B C" = "x"';
  const flags = { "grace-ms": "soon", "data-workers": "-1" };
  const environment = { TASK_ENGINE_BACKEND_PORT: "70000", TASK_ENGINE_PROT: "1", TASK_ENGINE_VERBOSE: "yes" };
  expect(await mistakesOf(load(toml, flags, environment))).toEqual([
    "TASK_ENGINE_PROT: there is no such setting (did you mean TASK_ENGINE_PORT?); see task-engine serve --help",
    "task-engine.toml: hots: there is no such setting (did you mean host?); see task-engine serve --help",
    'task-engine.toml: port: must be a whole number from 1 to 65535, not "9000"',
    "TASK_ENGINE_BACKEND_PORT: must be a whole number from 1 to 65535, not 70000",
    "task-engine.toml: task-workers: must be a whole number from 0 to 64, not 1.5",
    "--data-workers: must be a whole number from 0 to 64, not -1",
    '--grace-ms: must be a whole number from 0 to 600000, not "soon"',
    'TASK_ENGINE_VERBOSE: must be true or false, not "yes"',
    "task-engine.toml: env.A: must be a string, not 1",
    "task-engine.toml: env.LD_PRELOAD: decides which code a worker runs, and is never passed to one",
    "task-engine.toml: env.B C: is not a name for a variable",
  ]);
});

test("a number of the file stands for its text where a setting is text", async () => {
  expect(await load('http = 8080\nnats = "nats://hub"\nrobot = 7')).toMatchObject({ http: "8080", robot: "7" });
  expect(await mistakesOf(load("http = 80800"))).toEqual([
    'task-engine.toml: http: a port is a number from 1 to 65535, not "80800"',
  ]);
  expect(await mistakesOf(load("http = true"))).toEqual(["task-engine.toml: http: must be [ADDRESS:]PORT, not true"]);
  expect(await mistakesOf(load("http = 80.5"))).toEqual(["task-engine.toml: http: must be [ADDRESS:]PORT, not 80.5"]);
});

test("no variable that decides what code a worker is can be handed to one", async () => {
  for (const name of ["BUN_OPTIONS", "BUN_BE_BUN", "NODE_OPTIONS", "LD_PRELOAD", "LD_AUDIT", "NODE_CHANNEL_FD"]) {
    expect(await mistakesOf(load(`[env]\n${name} = "x"`))).toHaveLength(1);
  }
  expect(await load('[env]\nROBOT = "left"\nPYTHONPATH = "/x"')).toMatchObject({
    env: { ROBOT: "left", PYTHONPATH: "/x" },
  });
});

test("the table [env] must be a table", async () => {
  expect(await mistakesOf(load("env = 3"))).toEqual(["task-engine.toml: env: must be a table of strings, not 3"]);
});

test("a file that is named must be there, be a file and be TOML", async () => {
  expect(await mistakesOf(load(undefined, { config: "none.toml" }))).toEqual(["none.toml: there is no such file"]);
  expect(await mistakesOf(load(undefined, {}, { TASK_ENGINE_CONFIG: "/" }))).toEqual(["/: is not a file"]);
  expect((await mistakesOf(load("port = ")))[0]).toStartWith("task-engine.toml: TOML Parse error");
  expect((await mistakesOf(load("port = 1\nport = 2")))[0]).toContain("port");
});

test("a file that is not UTF-8 is refused with the line, and nothing in it is mended; the mark before UTF-8 is none of it", async () => {
  const latin1 = (text: string): string => {
    const folder = folderWith();
    writeFileSync(join(folder, "task-engine.toml"), Buffer.from(text, "latin1"), { mode: 0o644 });
    return folder;
  };
  const mistakes = (folder: string) => mistakesOf(loadConfig({ flags: {}, environment: {}, folder }));
  expect(await mistakes(latin1('port = 9100\n[env]\nROBOT = "caf\u00e9"\n'))).toEqual([
    "task-engine.toml: line 3 is not UTF-8; save the file in that encoding",
  ]);
  expect(await mistakes(latin1("# \u00fc"))).toEqual([
    "task-engine.toml: line 1 is not UTF-8; save the file in that encoding",
  ]);
  expect((await load('\ufeff[env]\nROBOT = "caf\u00e9 \ufffd"\n')).env).toEqual({ ROBOT: "caf\u00e9 \ufffd" });
});

test("a file that another user can write, or has put there, is not obeyed", async () => {
  const folder = folderWith("insecure = true");
  const path = join(folder, "task-engine.toml");
  const refusal =
    "task-engine.toml: another user can write it, and what it says is obeyed; chown it to yourself, chmod go-w";
  for (const mode of [0o664, 0o646]) {
    chmodSync(path, mode);
    expect(await mistakesOf(loadConfig({ flags: {}, environment: {}, folder }))).toEqual([refusal]);
  }
  if (process.geteuid?.() !== 0) return; // only root can give a file away
  chmodSync(path, 0o644);
  chownSync(path, 12_345, -1);
  expect(await mistakesOf(loadConfig({ flags: {}, environment: {}, folder }))).toEqual([refusal]);
});

test("a file that another user puts in the place of one's own while it is read is not obeyed", async () => {
  const folder = folderWith();
  writeFileSync(join(folder, "own.toml"), "port = 1111");
  writeFileSync(join(folder, "foreign.toml"), "port = 2222");
  chmodSync(join(folder, "foreign.toml"), 0o666);
  const swap = `
    const { renameSync, symlinkSync } = require("node:fs");
    for (;;) for (const name of ["own.toml", "foreign.toml"]) {
      symlinkSync(name, "link");
      renameSync("link", "task-engine.toml");
    }`;
  await using swapper = Bun.spawn([process.execPath, "-e", swap], { cwd: folder });
  const ports = new Set<number>();
  for (let tries = 0; tries < 3_000; tries++) {
    const config = await loadConfig({ flags: {}, environment: {}, folder }).catch(() => null);
    if (config !== null) ports.add(config.port);
  }
  swapper.kill("SIGKILL");
  // 9000: there was no file yet.
  expect([...ports].filter((port) => port !== 1111 && port !== 9000)).toEqual([]);
  expect(ports).toContain(1111);
});

test("a key of the object prototype is not a setting", async () => {
  expect(await mistakesOf(load("constructor = 1\n[__proto__]\nport = 1"))).toHaveLength(2);
});

test("relative folders of the file start at the file, others where the program was started", async () => {
  const folder = folderWith();
  mkdirSync(join(folder, "tasks"));
  mkdirSync(join(folder, "etc", "mine"), { recursive: true });
  writeFileSync(join(folder, "etc", "engine.toml"), 'tasks = "mine"');
  const config = join("etc", "engine.toml");
  expect(await loadConfig({ flags: {}, environment: {}, folder })).toMatchObject({ tasks: join(folder, "tasks") });
  expect(await loadConfig({ flags: { config }, environment: {}, folder })).toMatchObject({
    tasks: join(folder, "etc", "mine"),
  });
  expect(await loadConfig({ flags: { config, tasks: "etc" }, environment: {}, folder })).toMatchObject({
    tasks: join(folder, "etc"),
  });
});

test("the tasks folder is an absolute path whose links are not followed yet, and one that is named must be there", async () => {
  const folder = folderWith();
  mkdirSync(join(folder, "real"));
  symlinkSync("real", join(folder, "link"));
  writeFileSync(join(folder, "file"), "");
  expect(await loadConfig({ flags: { tasks: "link" }, environment: {}, folder })).toMatchObject({
    tasks: join(folder, "link"),
    tasksIfAny: null,
  });
  for (const name of ["none", "file"]) {
    const loading = loadConfig({ flags: { tasks: name }, environment: {}, folder });
    expect(await mistakesOf(loading)).toEqual([`--tasks: there is no folder ${JSON.stringify(join(folder, name))}`]);
  }
  expect(await mistakesOf(load(undefined, { tasks: "" }))).toHaveLength(1);
  expect(await mistakesOf(load('tasks = "a\\u0000b"'))).toHaveLength(1);
});

test("ports that two processes would share are a mistake of whoever gave them", async () => {
  expect(await mistakesOf(load(undefined, { port: "9001" }))).toEqual([
    "default of --backend-port: 9001 is also the port of --port; choose another",
  ]);
  expect(await mistakesOf(load("port = 10002"))).toEqual([
    "task-engine.toml: port: 10002 is among the ports of the 3 workers, 10000 to 10002 (default of --worker-port); choose another",
  ]);
  expect(await mistakesOf(load(undefined, {}, { TASK_ENGINE_WORKER_PORT: "65534" }))).toEqual([
    "TASK_ENGINE_WORKER_PORT: 3 workers from 65534 on end beyond port 65535",
  ]);
  expect(await mistakesOf(load("data-port = 9000"))).toEqual([
    "default of --port: 9000 is among the ports for data, 9000 to 9001 (task-engine.toml: data-port); choose another",
    "default of --backend-port: 9001 is among the ports for data, 9000 to 9001 (task-engine.toml: data-port); choose another",
  ]);
  expect(await mistakesOf(load(undefined, { "data-port": "65535" }))).toEqual([
    "--data-port: the ports of 1 data workers from 65535 on end beyond port 65535",
  ]);
  expect(await load(undefined, { "worker-port": "65533" })).toMatchObject({ workerPort: 65_533 });
  expect(await load(undefined, { port: "10000", "task-workers": "0", "data-workers": "0" })).toMatchObject({
    port: 10_000,
  });
});

test("a host is an IPv4 address, or a name that has one", async () => {
  expect(await load(undefined, { host: "0.0.0.0", insecure: true })).toMatchObject({ host: "0.0.0.0" });
  expect(await load(undefined, { host: "localhost" })).toMatchObject({ host: "127.0.0.1" });
  for (const host of ["::1", "a b", "tcp://127.0.0.1", "*", ""]) {
    expect(await mistakesOf(load(undefined, { host }))).toEqual([
      `--host: must be an IPv4 address or a name of this machine, not ${JSON.stringify(host)}`,
    ]);
  }
  expect((await mistakesOf(load(undefined, { host: "300.1.1.1" })))[0]).toStartWith("--host: ");
});

test("an address that others reach needs keys or the word insecure", async () => {
  expect(await mistakesOf(load(undefined, { host: "192.168.1.20" }))).toEqual([
    "--host: 192.168.1.20 can be reached from other machines, and without keys by everybody there; " +
      "make keys by `task-engine keygen engine` and give --key, or take the risk by --insecure",
  ]);
  expect(await load(undefined, { host: "127.0.0.2" })).toMatchObject({ key: null, authorized: null, insecure: false });
  expect(await load(undefined, { host: "0.0.0.0", key: "/keys/engine.key_secret" })).toMatchObject({
    key: "/keys/engine.key_secret",
    authorized: "/keys/authorized",
  });
});

test("settings of keys that contradict each other are a mistake", async () => {
  expect(await mistakesOf(load(undefined, { authorized: "friends" }))).toEqual([
    "--authorized: lists authorized clients, which needs an engine with keys; give --key too",
  ]);
  expect(await mistakesOf(load(undefined, { key: "/k", insecure: true }))).toEqual([
    "--insecure: means an engine without keys, and --key gives one; leave one out",
  ]);
  expect(await load(undefined, { key: "/k", authorized: "/friends" })).toMatchObject({ authorized: "/friends" });
});
