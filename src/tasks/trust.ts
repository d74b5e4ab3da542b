/**
 * Decides which code may run: a file or folder that another user can write holds that user's code.
 * sshd asks the same of `authorized_keys` (StrictModes in sshd_config(5)).
 */
import { existsSync, readFileSync, realpathSync, type Stats, statSync } from "node:fs";
import { dirname, extname, isAbsolute, join } from "node:path";
import { StartError } from "../transport/start-error.ts";

const rootUid = 0;
const othersWriteBits = 0o022;
const stickyBit = 0o1000;

/**
 * Returns the real path of a file or folder, symbolic links resolved, if only root and the user of
 * the engine can change it. The folders above it must hold to the same, since a user who can write
 * there can put another file in its place; the sticky bit of a folder like /tmp prevents that.
 * @throws StartError with the path at fault, why, and what to do
 */
export const trustedRealPath = (path: string, engineUid: number = process.geteuid?.() ?? Number.NaN): string => {
  const realPath = onDisk(path, () => realpathSync(path));
  for (const current of withParents(realPath)) {
    const stats = onDisk(path, () => statSync(current));
    const problem = distrust(stats, current === realPath ? "target" : "above", engineUid);
    if (problem === null) continue;
    const { why, remedy } = problem;
    const whose = current === realPath ? "" : `, so that others can replace ${realPath}`;
    throw new StartError(`${current} is not safe to run tasks from: ${why}${whose}; ${remedy} ${shellWord(current)}`);
  }
  return realPath;
};

/** Returns null for an owner and mode that can be trusted, else why not and the remedy. */
export const distrust = (
  { uid, mode }: Pick<Stats, "uid" | "mode">,
  position: "target" | "above",
  engineUid: number,
): { why: string; remedy: string } | null => {
  if (uid !== rootUid && uid !== engineUid) {
    return { why: `it belongs to user ${uid}, the engine runs as user ${engineUid}`, remedy: `chown ${engineUid}` };
  }
  const isWritable = (mode & othersWriteBits) !== 0;
  if (!isWritable || (position === "above" && (mode & stickyBit) !== 0)) return null;
  return { why: `others can write it (mode ${(mode & 0o7777).toString(8).padStart(4, "0")})`, remedy: "chmod go-w" };
};

/** The path itself, then the folders above it up to the root. */
const withParents = (path: string): string[] => {
  const parent = dirname(path);
  return parent === path ? [path] : [path, ...withParents(parent)];
};

const shellWord = (path: string): string =>
  /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;

const onDisk = <Result>(path: string, read: () => Result): Result => {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof Error && "code" in error)) throw error;
    const why = error.code === "ENOENT" ? "there is no such file or folder" : error.message;
    throw new StartError(`${path} cannot be read: ${why}`);
  }
};

const loaders: Readonly<Record<string, Bun.JavaScriptLoader>> = {
  ".ts": "ts",
  ".mts": "ts",
  ".cts": "ts",
  ".tsx": "tsx",
  ".jsx": "jsx",
  ".js": "js",
  ".mjs": "js",
  ".cjs": "js",
};

/** A path in Bun's cache of packages that it fetched for an import and nobody installed. */
const fetchedPackage = /\/[^/]+@[^/]+@@@\d+\//;

/**
 * Checks a code file and all that it imports, directly and indirectly, by `trustedRealPath` before
 * any of it runs: a helper or a package does as much as a task file. The files that decide where an
 * import leads are checked, too. An import whose name is computed at run time cannot be seen from
 * here.
 * @param trusted the real paths checked so far; this adds to them
 * @param imported those of them that another file imports; this adds to them
 * @throws StartError
 */
export const trustWithImports = (path: string, trusted: Set<string>, imported: Set<string>): void => {
  const deciders = new Set<string>();
  const waiting = [path];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const realPath = trusted.has(next) ? next : trustedRealPath(next);
    if (trusted.has(realPath)) continue;
    trusted.add(realPath);
    if (fetchedPackage.test(realPath)) {
      throw new StartError(`${realPath} was downloaded by Bun; install the package beside the task files`);
    }
    const folder = dirname(realPath);
    const specifiers = importsOf(realPath);
    for (const decider of [...nearestManifest(folder), ...specifiers.flatMap((name) => packagePaths(name, folder))]) {
      if (!deciders.has(decider)) trustedRealPath(decider);
      deciders.add(decider);
    }
    const found = specifiers.map((name) => resolvedFile(name, folder)).filter((each) => each !== null);
    for (const each of found) imported.add(each);
    waiting.push(...found);
  }
};

/** Empty for a file with a syntax error: its load will report that, and nothing of it will run. */
const importsOf = (realPath: string): string[] => {
  const loader = loaders[extname(realPath)];
  if (loader === undefined) return [];
  const source = readFileSync(realPath, "utf8");
  try {
    return new Bun.Transpiler({ loader }).scanImports(source).map(({ path }) => path);
  } catch {
    return [];
  }
};

/** null for a module without a file (`node:fs`), and for a missing one: its load reports that. */
const resolvedFile = (specifier: string, folder: string): string | null => {
  try {
    const resolved = Bun.resolveSync(specifier, folder);
    return isAbsolute(resolved) ? resolved : null;
  } catch {
    return null;
  }
};

/** The nearest `package.json`, whose `imports` and `type` count; empty where there is none. */
const nearestManifest = (folder: string): string[] =>
  withParents(folder)
    .map((each) => join(each, "package.json"))
    .filter(existsSync)
    .slice(0, 1);

/** `name` or `@scope/name`, of which an import may go on with a path. */
const packageName = /^(?![.#/])((?:@[^/:]+\/)?[^/:]+)(?:\/|$)/;

/**
 * The paths that decide which package a name means: the folders `node_modules` that are searched,
 * the package's own folder (which may be a link), and its `package.json`. Empty for a specifier
 * that names no package.
 */
const packagePaths = (specifier: string, folder: string): string[] => {
  const name = packageName.exec(specifier)?.[1];
  if (name === undefined) return [];
  const paths: string[] = [];
  for (const modules of withParents(folder).map((each) => join(each, "node_modules"))) {
    if (!existsSync(modules)) continue;
    const package_ = join(modules, name);
    paths.push(modules);
    if (!existsSync(package_)) continue;
    return [...paths, dirname(package_), package_, join(package_, "package.json")].filter(existsSync);
  }
  return paths;
};
