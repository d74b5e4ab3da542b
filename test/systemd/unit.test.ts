/** The unit, as systemd's own tools judge it. They are Debian's package `systemd`, which need not be what runs this machine. */
import { expect, setDefaultTimeout } from "bun:test";
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { install } from "../../src/systemd/install.ts";
import { type Device, devices, type UnitOptions, unitText } from "../../src/systemd/unit.ts";
import { test } from "../support/concurrent.ts";
import { runCommand } from "../support/engine.ts";
import { taskEngine } from "../support/executable.ts";
import { tempFolder } from "../support/temp-folder.ts";

setDefaultTimeout(300_000); // they wait for one another

const withSystemd = test.skipIf(Bun.which("systemd-analyze") === null && process.env.CI === undefined);
const asRoot = test.skipIf(process.geteuid?.() !== 0);
const page = readFileSync(join(import.meta.dir, "../../src/systemd/SERVICE.md"), "utf8");
const allDevices = Object.keys(devices) as Device[];
const plain: UnitOptions = { executable: "/bin/true", tasks: null, user: "task-engine", devices: [] };

const analyze = async (verb: readonly string[], options: UnitOptions) => {
  using folder = tempFolder({ "task-engine.service": unitText(options) });
  const env = { PATH: process.env.PATH ?? "", LC_ALL: "C.UTF-8" };
  return await runCommand(["systemd-analyze"], [...verb, folder.at("task-engine.service")], { env });
};

const exposureOf = async (options: UnitOptions): Promise<number> => {
  const { stdout } = await analyze(["security", "--offline=true", "--no-pager"], options);
  return Number(/Overall exposure level for task-engine\.service: ([\d.]+)/.exec(stdout)?.[1]);
};

withSystemd("systemd understands every line of it, whatever it was asked for", async () => {
  const odd = '/home/pi/my "robot" 100%/$tasks: all';
  for (const tasks of [null, "/srv/tasks", odd]) {
    for (const wanted of [[], allDevices]) {
      const { exitCode, stdout, stderr } = await analyze(["verify", "--man=no"], { ...plain, tasks, devices: wanted });
      expect({ exitCode, stdout, stderr }).toEqual({ exitCode: 0, stdout: "", stderr: "" });
    }
  }
});

withSystemd("it is exposed no more than its page says", async () => {
  const said = /exposure of (\d+\.\d) .*?, (\d+\.\d) with all devices/s.exec(page);
  const [without = 0, withAll = 0] = said?.slice(1).map(Number) ?? [];
  const exposure = await exposureOf(plain);
  expect(exposure).toBeGreaterThan(0);
  expect(exposure).toBeLessThanOrEqual(without);
  expect(await exposureOf({ ...plain, devices: allDevices })).toBeLessThanOrEqual(withAll);
});

test("it gives no device that was not asked for, and of those asked for the group as well", () => {
  expect(unitText(plain)).toContain("\nPrivateDevices=yes\n");
  expect(unitText(plain)).not.toMatch(/DeviceAllow|SupplementaryGroups/);
  const text = unitText({ ...plain, devices: ["i2c"] });
  expect(text).not.toContain("PrivateDevices");
  expect(text.match(/^DeviceAllow=.*$/gm)).toEqual(["DeviceAllow=char-i2c rw"]);
  expect(text).toContain("\nDevicePolicy=closed\n");
  expect(text).toContain("\nSupplementaryGroups=i2c\n");
});

test("of a home it shows the folder of the task files alone", () => {
  const text = unitText({ ...plain, tasks: "/home/pi/robot/tasks" });
  expect(text).toContain("\nProtectHome=tmpfs\nBindReadOnlyPaths=/home/pi/robot/tasks\n");
  expect(unitText({ ...plain, tasks: "/srv/tasks" })).toContain("\nProtectHome=yes\n");
});

const service = (...args: string[]) =>
  runCommand(taskEngine, ["service", ...args], { env: { PATH: process.env.PATH ?? "" } });

test("`service` prints it, for the place where --install puts the program", async () => {
  const { exitCode, stdout, stderr } = await service("--spi", "--gpio", "--user", "robot", "--tasks", "/srv/tasks");
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
  const executable = "/usr/local/bin/task-engine";
  expect(stdout).toBe(unitText({ executable, tasks: "/srv/tasks", user: "robot", devices: ["gpio", "spi"] }));
});

test.each([
  [["--user", "root"], "--user is root"],
  [["--user", "a b"], "which is not the name of a user"],
  [["--tasks", "/tmp/tasks"], "the service has a /tmp of its own"],
  [["--tasks", "/home/pi"], "a whole home, which the service could then read"],
  [["--tasks", "/srv/a\nExecStartPre=/bin/evil"], "control characters"],
  [["--usb"], "unknown flag --usb"],
])("`service` with %j is wrong usage", async (args, complaint) => {
  const { exitCode, stdout, stderr } = await service(...args);
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
  expect(stderr).toContain(complaint);
});

/** A machine in a folder, on which every program of the system that is not named to fail does its work. */
const machineIn = (root: string, failing: Readonly<Record<string, string>> = {}) => {
  const commands: string[] = [];
  const run = (...command: readonly string[]): string | null => {
    commands.push(command.join(" "));
    return failing[command.join(" ")] ?? null;
  };
  return { root, run, commands };
};

asRoot("--install makes user, folders, program and unit, and starts it; the next time it replaces them", () => {
  using folder = tempFolder({ "download/task-engine": "first" });
  const options = { ...plain, executable: "/usr/local/bin/task-engine" };
  const umask = process.umask(0o077);
  try {
    const machine = machineIn(folder.path, { "getent passwd task-engine": "no" });
    expect(install(options, folder.at("download/task-engine"), machine)).toBeNull();
    const home = "--no-create-home --home-dir /var/lib/task-engine --shell /usr/sbin/nologin";
    expect(machine.commands).toEqual([
      "getent passwd task-engine",
      `useradd --system --user-group ${home} task-engine`,
      "systemctl daemon-reload",
      "systemctl enable task-engine.service",
      "systemctl restart task-engine.service",
    ]);
  } finally {
    process.umask(umask);
  }
  const modeOf = (path: string): number => statSync(folder.at(path)).mode & 0o777;
  expect(modeOf("usr/local/bin/task-engine")).toBe(0o755);
  expect(modeOf("etc/systemd/system/task-engine.service")).toBe(0o644);
  expect([modeOf("etc/task-engine"), modeOf("etc/task-engine/tasks")]).toEqual([0o755, 0o755]);
  expect(readFileSync(folder.at("etc/systemd/system/task-engine.service"), "utf8")).toBe(unitText(options));

  writeFileSync(folder.at("download/task-engine"), "second");
  const machine = machineIn(folder.path);
  expect(install(options, folder.at("download/task-engine"), machine)).toBeNull();
  expect(readFileSync(folder.at("usr/local/bin/task-engine"), "utf8")).toBe("second");
  expect(machine.commands.join("\n")).not.toContain("useradd");
});

asRoot("an installation that fails says which step failed", () => {
  using folder = tempFolder({ program: "" });
  const missing = machineIn(folder.path, { "getent group i2c": "no" });
  expect(install({ ...plain, devices: ["i2c"] }, folder.at("program"), missing)).toContain("there is no group i2c");
  const failing = machineIn(folder.path, { "systemctl daemon-reload": "System has not been booted with systemd" });
  expect(install(plain, folder.at("program"), failing)).toBe(
    "systemctl daemon-reload failed: System has not been booted with systemd; see journalctl -u task-engine.service",
  );
  mkdirSync(folder.at("taken/true"), { recursive: true });
  const taken = { ...plain, executable: "/taken/true" };
  expect(install(taken, folder.at("program"), machineIn(folder.path))).toStartWith("cannot install: ");
  expect(install(plain, null, machineIn(folder.path))).toContain("bun run build");
});
