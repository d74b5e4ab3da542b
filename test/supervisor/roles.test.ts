import { expect, test } from "bun:test";
import { loadConfig } from "../../src/config.ts";
import { hasPort, ownCommand, rolesOf } from "../../src/supervisor/roles.ts";

const argvOf = async (flags: Readonly<Record<string, string>>): Promise<readonly string[][]> => {
  const { router, scan, workers } = rolesOf(await loadConfig({ flags, environment: {}, folder: "/" }));
  return [scan, router, ...workers].map(({ argv }) => [...argv]);
};

test("each role is told what it needs to know, and workers have ports of their own in a row", async () => {
  const backend = ["--backend", "unix:///state/9000/work.sock"];
  const ports = ["--port", "9000", "--backend-port", "9001", "--work-socket", "/state/9000/work.sock"];
  const tasks = ["--tasks-if-any", "/tasks"];
  const history = ["--history-ms", "60000", "--history-bytes", "33554432", "--data-bytes-max", "8388608"];
  expect(await argvOf({ state: "/state" })).toEqual([
    ["scan", ...tasks],
    ["router", "--host", "127.0.0.1", ...ports, ...tasks, "--stop-grace-ms", "100"],
    ["task-worker", "--host", "127.0.0.1", "--port", "10000", ...backend, ...tasks],
    ["task-worker", "--host", "127.0.0.1", "--port", "10001", ...backend, ...tasks],
    [
      "data-worker",
      "--host",
      "127.0.0.1",
      "--port",
      "10002",
      ...backend,
      "--stream-port",
      "9002",
      "--plain-port",
      "9003",
      "--python-socket",
      "/state/9000/python-9002.sock",
      ...history,
    ],
  ]);
});

test("the router and each data worker have a socket for local programs in an engine with keys", async () => {
  const argv = await argvOf({ state: "/state", key: "/key", authorized: "/authorized", "data-workers": "2" });
  const sockets = argv.map((words) => words.slice(words.findIndex((word) => /^--(front|stream)-socket$/.test(word))));
  expect(sockets.map(([flag, path]) => (flag?.endsWith("-socket") ? path : undefined))).toEqual([
    undefined,
    "/state/9000/front.sock",
    undefined,
    undefined,
    "/state/9000/data-9002.sock",
    "/state/9000/data-9004.sock",
  ]);
});

test("the source worker is told where the router and the task files are, and gets the variables for them", async () => {
  const { source } = rolesOf(
    await loadConfig({ flags: { state: "/state", tasks: "/usr" }, environment: {}, folder: "/" }),
  );
  const argv = ["source-worker", "--backend", "unix:///state/9000/work.sock", "--tasks", "/usr"];
  expect(source).toEqual({ kind: "source worker", name: "source worker", argv, takesEnv: true });
});

test("the journal is told where the router and its folder are, and gets no variables for task files", async () => {
  const { journal } = rolesOf(await loadConfig({ flags: { state: "/state" }, environment: {}, folder: "/" }));
  const argv = ["journal", "--backend", "unix:///state/9000/work.sock", "--folder", "/state/9000"];
  expect(journal).toEqual({ kind: "journal", name: "journal", argv, takesEnv: false });
});

test("task workers alone are told when they have done their share", async () => {
  const argv = await argvOf({ "worker-jobs-max": "1000", "worker-memory-max": "256" });
  const told = argv.map((words) => words.slice(words.indexOf("--jobs-max")).join(" "));
  expect(told.slice(2, 4)).toEqual(["--jobs-max 1000 --memory-max 256", "--jobs-max 1000 --memory-max 256"]);
  for (const words of [argv[0], argv[1], argv[4]]) expect(words).not.toContain("--memory-max");
});

test("the router and a process of its own are told how the robot is made safe", async () => {
  const { router, safe, hook } = rolesOf(
    await loadConfig({ flags: { "on-stop": "task_park", tasks: "/usr" }, environment: {}, folder: "/" }),
  );
  expect(router.argv).toEqual(expect.arrayContaining(["--tasks", "/usr", "--run", "park"]));
  expect(safe).toMatchObject({ argv: ["safe", "--tasks", "/usr"], takesEnv: true });
  expect(hook).toBe("park");
});

test("run from source, a role fetches nothing from the network that a task file imports", async () => {
  const { scan } = rolesOf(await loadConfig({ flags: { tasks: "/usr" }, environment: {}, folder: "/" }));
  expect(ownCommand(scan)).toEqual([process.execPath, "--no-install", Bun.main, "scan", "--tasks", "/usr"]);
});

test("the roles of Python get the same flags, a socket of their own and no port", async () => {
  const flags = {
    state: "/state",
    tasks: "/usr",
    "python-workers": "2",
    "worker-jobs-max": "9",
    python: "venv/python3",
  };
  const { python } = rolesOf(await loadConfig({ flags, environment: {}, folder: "/home" }));
  const backend = ["--backend", "ipc:///state/9000/python.sock", "--tasks", "/usr"];
  expect(python.interpreter).toBe("/home/venv/python3");
  expect(python.workers.map(({ argv }) => argv)).toEqual(
    [0, 1].map(() => ["task-worker", ...backend, "--jobs-max", "9"]),
  );
  expect(python.source.argv).toEqual(["source-worker", ...backend]);
  expect([python.scan.argv, python.safe.argv]).toEqual([
    ["scan", "--tasks", "/usr"],
    ["safe", "--tasks", "/usr"],
  ]);
  expect([...python.workers, python.source, python.scan].map(hasPort)).toEqual([false, false, false, false]);
});

test("the link is told of the fleet, of what it may, and of files by their full paths", async () => {
  const flags = { state: "/state", nats: "nats://hub:4222", robot: "r7", groups: "arms,lab", "nats-creds": "r7.creds" };
  const { link } = rolesOf(await loadConfig({ flags, environment: {}, folder: "/home" }));
  const words = ["link", "--router", "tcp://127.0.0.1:9000", "--nats", "nats://hub:4222", "--robot", "r7"];
  const argv = [...words, "--groups", "arms,lab", "--state", "/state", "--nats-creds", "/home/r7.creds"];
  expect(link).toEqual({ kind: "link", name: "link", argv, takesEnv: false });
  expect(rolesOf(await loadConfig({ flags: {}, environment: {}, folder: "/" })).link).toBeNull();
});
