/**
 * The program under test: the executable as it is shipped, built once for each state of the source. Its processes start in
 * half of the time that those from source take. `FROM_SOURCE=1` tests the source as it stands.
 */
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { buildExecutable, executablePath } from "../../build.ts";

const root = join(import.meta.dir, "../..");
const target = process.arch === "arm64" ? "linux-arm64" : "linux-x64";

/** A hash of everything that is in the executable. */
const versionOf = (): string => {
  const hasher = new Bun.CryptoHasher("sha256").update(Bun.revision);
  const sources = readdirSync(join(root, "src"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name));
  for (const path of [...sources.sort(), ...["build.ts", "package.json", "bun.lock"].map((name) => join(root, name))]) {
    hasher.update(`${path}\0`).update(readFileSync(path)).update("\0");
  }
  return hasher.digest("hex").slice(0, 16);
};

/** Builds the executable of this machine if the source has changed since the last time. Returns its path. */
export const builtExecutable = async (): Promise<string> => {
  const versions = join(root, "dist/test");
  const folder = join(versions, versionOf());
  const path = executablePath(target, folder);
  if (existsSync(path)) return path;
  for (const other of existsSync(versions) ? readdirSync(versions) : []) {
    if (other !== basename(folder)) rmSync(join(versions, other), { recursive: true, force: true });
  }
  return buildExecutable(target, folder);
};

export const fromSource: readonly string[] = [process.execPath, join(root, "src/main.ts")];

/** `task-engine` as a command. */
export const taskEngine: readonly string[] = process.env.FROM_SOURCE === "1" ? fromSource : [await builtExecutable()];
