/** Installs the engine as a service, in steps that can be repeated. To be run as root. */
import { chmodSync, copyFileSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { configurationFolder, devices, stateFolder, type UnitOptions, unitName, unitText } from "./unit.ts";

/** The paths of the installed files; a test has another root than `/`. */
interface Machine {
  readonly root: string;
  /** Runs a program of the system. Returns its stderr if it failed, else null. */
  readonly run: (...command: readonly string[]) => string | null;
}

const thisMachine: Machine = {
  root: "/",
  run: (...command) => {
    if (Bun.which(command[0] ?? "") === null) return "there is no such program on this machine";
    const { success, stderr } = Bun.spawnSync([...command], { stdin: "ignore", stdout: "ignore", stderr: "pipe" });
    return success ? null : stderr.toString().trim().replaceAll("\n", "; ");
  },
};

/**
 * Installs, enables and starts the service. Returns null, or one line that says which step failed,
 * and why.
 * @param program the executable to be copied to its place; null if this is the source
 */
export const install = (
  options: UnitOptions,
  program: string | null,
  machine: Machine = thisMachine,
): string | null => {
  const { root, run } = machine;
  if (process.geteuid?.() !== 0) return "--install changes the system, which only root may: run it with sudo";
  if (program === null) return "--install needs the executable, and this is the source: bun run build makes it";
  const groups = options.devices.map((name) => devices[name].group);
  const missing = groups.find((group) => run("getent", "group", group) !== null);
  if (missing !== undefined) {
    const remedy = `create it (groupadd --system ${missing}) and its udev rule, or leave the flag out`;
    return `there is no group ${missing} here, which would have the devices; ${remedy}`;
  }
  try {
    const problem = addUser(options.user, machine);
    if (problem !== null) return problem;
    // Only root may write there: its files decide what the engine runs and which clients it obeys.
    for (const folder of [configurationFolder, join(configurationFolder, "tasks")]) {
      const path = join(root, folder);
      if (mkdirSync(path, { recursive: true }) !== undefined) chmodSync(path, 0o755); // whatever the umask
    }
    const executable = join(root, options.executable);
    if (program !== executable) replace(executable, 0o755, (draft) => copyFileSync(program, draft));
    replace(join(root, "/etc/systemd/system", unitName), 0o644, (draft) => writeFileSync(draft, unitText(options)));
  } catch (failure) {
    return `cannot install: ${(failure as Error).message}`;
  }
  for (const command of [["daemon-reload"], ["enable", unitName], ["restart", unitName]]) {
    const problem = run("systemctl", ...command);
    if (problem !== null) return `systemctl ${command.join(" ")} failed: ${problem}; see journalctl -u ${unitName}`;
  }
  return null;
};

const addUser = (user: string, { run }: Machine): string | null => {
  if (run("getent", "passwd", user) === null) return null;
  const flags = ["--system", "--user-group", "--no-create-home", "--home-dir", stateFolder];
  const problem = run("useradd", ...flags, "--shell", "/usr/sbin/nologin", user);
  return problem === null ? null : `user ${user} cannot be created: ${problem}`;
};

/** Renames a new file: a running program cannot be written, and half a unit must not be read. */
const replace = (path: string, mode: number, write: (draft: string) => void): void => {
  const draft = `${path}.new`;
  mkdirSync(dirname(path), { recursive: true });
  rmSync(draft, { force: true });
  write(draft);
  chmodSync(draft, mode); // whatever the umask
  renameSync(draft, path);
};
