/** The interpreter of Python tasks: found, held to the rules of trust, asked what it is. */
import { existsSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import * as v from "valibot";
import { pythonProbeMs } from "../limits.ts";
import { trustedRealPath } from "../tasks/trust.ts";
import { StartError } from "../transport/start-error.ts";
import probe from "./probe.py" with { type: "text" };
import { programText, sealedMemory } from "./program.ts";

const oldest = [3, 9] as const;

/** The interpreter that runs task_engine.py. */
interface Interpreter {
  readonly path: string;
  /**
   * Descriptor of task_engine.py, compiled for it: so a process needs a third of the memory, and
   * half of the time until it serves.
   */
  readonly program: number;
}

/**
 * The interpreter that is named, or the default one. Rejects with StartError, whose one line says
 * why there is none, and what to do.
 * @param environment of the processes that it will run
 */
export const findInterpreter = async (
  named: string | null,
  environment: Readonly<Record<string, string>>,
): Promise<Interpreter> => {
  const found = named ?? Bun.which("python3", { PATH: environment.PATH ?? "" }) ?? "/usr/bin/python3";
  const home = trustInterpreter(found, named === null);
  const { about, program } = await askInterpreter(found, home, environment);
  const { version, implementation, executable } = about;
  if (version[0] !== oldest[0] || (version[1] ?? 0) < oldest[1]) {
    throw new StartError(
      `${found} is Python ${version.join(".")}, and tasks need ${oldest.join(".")}; name a newer one by --python`,
    );
  }
  if (implementation !== "cpython") {
    throw new StartError(`${found} is ${implementation}, and tasks need CPython; name one by --python`);
  }
  // A script that chooses between versions has started another file.
  if (executable !== found) trustInterpreter(executable, false);
  for (const folder of [about.library, ...about.packages]) trustFolder(folder);
  return { path: executable, program: sealedMemory(program) };
};

/** Returns the folder of the virtual environment that it belongs to; null for none. */
const trustInterpreter = (path: string, isDefault: boolean): string | null => {
  if (isDefault && !existsSync(path)) {
    throw new StartError(
      "there is no python3 on this machine; install it (`apt install python3`) or name one by --python",
    );
  }
  trustedRealPath(path);
  trustedRealPath(dirname(path));
  for (const folder of [dirname(path), dirname(dirname(path))]) {
    const settings = join(folder, "pyvenv.cfg");
    if (!existsSync(settings)) continue;
    trustedRealPath(settings);
    return folder;
  }
  return null;
};

/** Code that runs by itself, as the interpreter starts: site(3) of Python. */
const startsByItself = (name: string): boolean => name.endsWith(".pth") || /^(site|user)customize\b/.test(name);

/** Further modules are checked by task_engine.py, as they are imported. */
const trustFolder = (path: string): void => {
  if (!existsSync(path)) return;
  trustedRealPath(path);
  for (const name of readdirSync(path)) if (startsByItself(name)) trustedRealPath(join(path, name));
};

const aboutSchema = v.pipe(
  v.string(),
  v.parseJson(),
  v.object({
    version: v.array(v.number()),
    implementation: v.string(),
    executable: v.string(),
    library: v.string(),
    packages: v.array(v.string()),
  }),
);

interface Answer {
  readonly about: v.InferOutput<typeof aboutSchema>;
  /** The content of a .pyc file. */
  readonly program: Uint8Array;
}

const askInterpreter = async (
  path: string,
  home: string | null,
  env: Readonly<Record<string, string>>,
): Promise<Answer> => {
  const refuse = (why: string): never => {
    throw new StartError(`${path} ${why}; name another Python interpreter by --python`);
  };
  try {
    const child = Bun.spawn([path, "-I", "-S", "-B", "-X", "utf8", "-c", probe, home ?? ""], {
      env: { ...env },
      stdin: Buffer.from(programText),
      stdout: "pipe",
      stderr: "pipe",
      timeout: pythonProbeMs,
      killSignal: "SIGKILL",
    });
    const [output, errors] = await Promise.all([child.stdout.bytes(), child.stderr.text(), child.exited]);
    if (child.signalCode === "SIGKILL") return refuse(`has not answered in ${pythonProbeMs} ms`);
    const end = output.indexOf(0x0a);
    const about = v.safeParse(aboutSchema, Buffer.from(output.subarray(0, Math.max(end, 0))).toString());
    if (about.success && child.exitCode === 0) return { about: about.output, program: output.subarray(end + 1) };
    return refuse(`is no Python: ${errors.trim().split("\n").at(-1) || `it ended with exit code ${child.exitCode}`}`);
  } catch (failure) {
    if (failure instanceof StartError) throw failure;
    return refuse(`cannot be run: ${(failure as Error).message}`);
  }
};
