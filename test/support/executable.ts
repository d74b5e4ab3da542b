/**
 * The programs under test, built once for each state of their source: processes of a built one
 * start in half of the time. `FROM_SOURCE=1` tests the source as it stands.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { buildExecutable, executablePath } from "../../build.ts";

const root = join(import.meta.dir, "../..");
const target = process.arch === "arm64" ? "linux-arm64" : "linux-x64";

/** A hash of all files of the given folders, and of what builds them. */
const versionOf = (folders: readonly string[]): string => {
  const hasher = new Bun.CryptoHasher("sha256").update(Bun.revision);
  const sources = folders.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => join(parentPath, name)),
  );
  for (const path of [...sources.sort(), ...["build.ts", "package.json", "bun.lock"].map((name) => join(root, name))]) {
    hasher.update(`${path}\0`).update(readFileSync(path)).update("\0");
  }
  return hasher.digest("hex").slice(0, 16);
};

/**
 * Returns a folder of `dist` for what is built from the given folders as they are now. It removes
 * what was built from older ones.
 */
const folderFor = (name: string, folders: readonly string[]): string => {
  const versions = join(root, "dist", name);
  const folder = join(versions, versionOf(folders));
  for (const other of existsSync(versions) ? readdirSync(versions) : []) {
    if (other !== basename(folder)) rmSync(join(versions, other), { recursive: true, force: true });
  }
  mkdirSync(folder, { recursive: true });
  return folder;
};

/** Builds the executable of this machine, as it is shipped. Returns its path. */
export const builtExecutable = async (): Promise<string> => {
  const folder = folderFor("test", ["src"]);
  const path = executablePath(target, folder);
  return existsSync(path) ? path : buildExecutable(target, folder);
};

const isFromSource = process.env.FROM_SOURCE === "1";

export const fromSource: readonly string[] = [process.execPath, join(root, "src/main.ts")];

/** `task-engine` as a command. */
export const taskEngine: readonly string[] = isFromSource ? fromSource : [await builtExecutable()];

/** A program of this folder, of which many processes start, as a command. */
export const supportProgram = async (name: string): Promise<readonly string[]> => {
  const entry = join(import.meta.dir, `${name}.ts`);
  if (isFromSource) return [process.execPath, entry];
  const outfile = join(folderFor("test-support", ["src", "test/support"]), name);
  if (!existsSync(outfile)) {
    // Two runs of the tests may build it at the same time.
    const compile = { outfile: `${outfile}.${process.pid}`, autoloadDotenv: false, autoloadBunfig: false } as const;
    await Bun.build({ entrypoints: [entry], compile, bytecode: true, splitting: true, format: "esm" });
    renameSync(compile.outfile, outfile);
  }
  return [outfile];
};
