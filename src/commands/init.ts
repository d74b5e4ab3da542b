/**
 * `init [FOLDER]` writes a starting point for a robot into a folder: a task in TypeScript, one in
 * Python, and a file of settings with every setting as a comment.
 *
 * Needs no engine. It overwrites nothing. Prints a line on stdout for each file: written, or left
 * as it is.
 *
 * Exits with 0; 1 if a file cannot be written; 2 for wrong usage.
 */
import { chmodSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { settingsList } from "../config.ts";
import { warn } from "../process/log.ts";
import { defineCommand, ExitError } from "./command.ts";
import { printResult } from "./output.ts";

export const initCommand = defineCommand({
  meta: { name: "init", description: "Write a starting point: a task in TypeScript, one in Python, and the settings" },
  args: { folder: { type: "positional", required: false, description: "Folder for it (default: this one)" } },
  run: async ({ args: { folder = "." } }) => {
    const lines = Object.entries({ ...taskFiles, "task-engine.toml": settingsFile() }).map(([name, text]) => {
      const path = join(folder, name);
      return writeNew(path, text) ? `wrote ${path}` : `left ${path} as it is`;
    });
    await printResult(lines.join("\n"));
    warn(`Start the engine there: ${folder === "." ? "" : `cd ${folder} && `}task-engine serve`);
    warn("and in another terminal: task-engine send wave 2; task-engine send blink 2");
  },
});

const waveFile = `import type { TaskFunction } from "task-engine";

/** Waves so many times: \`task-engine send wave 2\` */
export const task_wave: TaskFunction = async ([times = 1], _kwargs, { signal, log }) => {
  if (typeof times !== "number") throw new TypeError("times must be a number");
  for (let wave = 1; wave <= times; wave++) {
    signal.throwIfAborted(); // an aborted job ends here
    log(\`wave \${wave}\`);
    await Bun.sleep(100);
  }
  return { waved: times };
};
`;

const blinkFile = `"""A task in Python: \`task-engine send blink 2\`"""

from task_engine import log, sleep, task


def off():
    """Runs whenever a job has ended other than by itself."""
    print("the light is off")


@task(resources=["light"], timeout_ms=60_000, on_stop=off)
def blink(times: int = 1):
    for blink in range(1, times + 1):
        log(f"blink {blink}")
        sleep(0.1)  # an aborted job ends here
    return {"blinked": times}
`;

const taskFiles = { "tasks/wave.ts": waveFile, "tasks/blink.py": blinkFile };

const settingsFile = (): string => {
  const settings = settingsList.map(({ key, value, description }) => `# ${description}\n# ${key} = ${value}\n`);
  return `# Settings of \`task-engine serve\` in this folder. Without its # a line replaces the default.

${settings.join("\n")}
# Variables for the tasks, which get no others of the environment in which the engine was started.
# [env]
# MOTOR_BUS = "/dev/i2c-1"
`;
};

/** Returns false for a file that is there already. Throws ExitError. */
const writeNew = (path: string, text: string): boolean => {
  try {
    const folder = dirname(path);
    // Whatever the umask: the engine refuses task files that others can write.
    const made = mkdirSync(folder, { recursive: true, mode: 0o755 });
    if (made !== undefined) chmodSync(folder, 0o755);
    writeFileSync(path, text, { flag: "wx", mode: 0o644 });
    chmodSync(path, 0o644);
    return true;
  } catch (failure) {
    const { code, message } = failure as NodeJS.ErrnoException;
    if (code === "EEXIST" && statSync(path, { throwIfNoEntry: false })?.isFile() === true) return false;
    throw new ExitError(`${path} cannot be written: ${message}`, 1);
  }
};
