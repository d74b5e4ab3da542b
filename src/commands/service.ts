/**
 * `service` prints a systemd unit for the engine. `--install`, as root, makes the system user and
 * /etc/task-engine with its folder of tasks, copies the executable to a place that every user can
 * read, writes the unit, and makes systemd enable and start it. Installing again replaces
 * executable and unit and restarts the engine. Sends nothing to an engine.
 *
 * Exits with 0 if printed or installed, 1 if a step of the installation failed, 2 for wrong flags.
 */
import { resolve } from "node:path";
import { type Device, devices, isInHome, type UnitOptions, unitText } from "../systemd/unit.ts";
import { defineCommand, ExitError, UsageError } from "./command.ts";
import { writeOut } from "./output.ts";

const deviceNames = Object.keys(devices) as Device[];
const userDefault = "task-engine";

export const serviceCommand = defineCommand({
  meta: { name: "service", description: "Print a systemd unit for the engine, or install it" },
  args: {
    install: { type: "boolean", description: "Install, enable and start it; as root" },
    tasks: {
      type: "string",
      valueHint: "folder",
      description: "Folder of task files (default: /etc/task-engine/tasks)",
    },
    user: { type: "string", valueHint: "name", description: `User that it runs as (default: ${userDefault})` },
    ...Object.fromEntries(
      deviceNames.map((name) => [name, { type: "boolean" as const, description: `Allow tasks ${devices[name].what}` }]),
    ),
  },
  run: async ({ args }) => {
    const given: Readonly<Record<string, unknown>> = args;
    const options: UnitOptions = {
      executable: executablePath(),
      tasks: typeof given.tasks === "string" ? tasksPath(given.tasks) : null,
      user: typeof given.user === "string" ? userName(given.user) : userDefault,
      devices: deviceNames.filter((name) => given[name] === true),
    };
    if (given.install !== true) return writeOut(unitText(options));
    const { install } = await import("../systemd/install.ts");
    const problem = install(options, isExecutable ? process.execPath : null);
    if (problem !== null) throw new ExitError(problem, 1);
    await writeOut("The engine runs, and starts with the machine; see systemctl status task-engine\n");
  },
});

/** True for the built executable, false for the source run by Bun. */
const isExecutable = Bun.main.startsWith("/$bunfs/");

/** Returns the program's own path if it is below /usr or /opt, or else that of `--install`. */
const executablePath = (): string =>
  isExecutable && /^\/(usr|opt)\//.test(process.execPath) ? process.execPath : "/usr/local/bin/task-engine";

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const controls = /[\u0000-\u001f\u007f]/;

const tasksPath = (given: string): string => {
  const path = resolve(given);
  if (controls.test(path)) throw new UsageError("--tasks has control characters in it, which a unit file cannot hold");
  if (/^\/(var\/)?tmp(\/|$)/.test(path)) {
    throw new UsageError(`--tasks is ${path}, and the service has a /tmp of its own; put the folder somewhere else`);
  }
  if (isInHome(`${path}/`) && path.split("/").length < 4) {
    throw new UsageError(`--tasks is ${path}, a whole home, which the service could then read; give a folder in it`);
  }
  return path;
};

const userName = (given: string): string => {
  if (!/^[a-z_][a-z0-9_-]{0,30}$/.test(given)) {
    throw new UsageError(`--user is ${JSON.stringify(given)}, which is not the name of a user`);
  }
  if (given === "root") throw new UsageError("--user is root, whose rights no robot needs; leave it out");
  return given;
};
