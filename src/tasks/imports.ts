/** What a task file brings along: the files that it imports, and those that these import. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, extname, isAbsolute, join } from "node:path";
import { StartError } from "../transport/start-error.ts";
import { trustedRealPath } from "./trust.ts";

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

/** In Bun's cache of packages: where it puts what is imported, not installed, and so nobody has ever looked at. */
const fetchedPackage = /\/[^/]+@[^/]+@@@\d+\//;

/**
 * Holds a code file and all that it imports, directly and indirectly, to `trustedRealPath`, before any of it runs: code
 * in `tasks/lib/` does as much as code in `tasks/`, and a package as much as either. What decides which file an import leads to is
 * held to the same. An import whose name is computed at run time cannot be seen from here.
 * `trusted` are the real paths known so far, `imported` those of them that another imports; this adds to both. Throws StartError.
 */
export const trustWithImports = (path: string, trusted: Set<string>, imported: Set<string>): void => {
  const deciders = new Set<string>();
  const waiting = [path];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const realPath = trusted.has(next) ? next : trustedRealPath(next);
    if (trusted.has(realPath)) continue;
    trusted.add(realPath);
    if (fetchedPackage.test(realPath)) {
      throw new StartError(`${realPath} is what Bun has fetched unasked; install the package beside the task files`);
    }
    const folder = dirname(realPath);
    const specifiers = importsOf(realPath);
    for (const decider of [...manifestsAbove(folder), ...specifiers.flatMap((name) => packagePaths(name, folder))]) {
      if (!deciders.has(decider)) trustedRealPath(decider);
      deciders.add(decider);
    }
    const found = specifiers.map((name) => resolve(name, folder)).filter((each) => each !== null);
    for (const each of found) imported.add(each);
    waiting.push(...found);
  }
};

const importsOf = (realPath: string): string[] => {
  const loader = loaders[extname(realPath)];
  return loader === undefined ? [] : scan(readFileSync(realPath, "utf8"), loader);
};

/** A syntax error or a missing file is for the load to report: it knows the place. Nothing of such a file will run. */
const scan = (source: string, loader: Bun.JavaScriptLoader): string[] => {
  try {
    return new Bun.Transpiler({ loader }).scanImports(source).map(({ path }) => path);
  } catch {
    return [];
  }
};

/** null for what is no file, such as `node:fs`, and for what is not there. */
const resolve = (specifier: string, folder: string): string | null => {
  try {
    const resolved = Bun.resolveSync(specifier, folder);
    return isAbsolute(resolved) ? resolved : null;
  } catch {
    return null;
  }
};

/** The folder itself and those above it. */
const foldersUp = (folder: string): string[] => {
  const parent = dirname(folder);
  return parent === folder ? [folder] : [folder, ...foldersUp(parent)];
};

/** The nearest `package.json`, whose `imports` and `type` count; there may be none. */
const manifestsAbove = (folder: string): string[] =>
  foldersUp(folder)
    .map((each) => join(each, "package.json"))
    .filter(existsSync)
    .slice(0, 1);

/** `name` or `@scope/name`, of which an import may go on with a path. */
const packageName = /^(?![.#/])((?:@[^/:]+\/)?[^/:]+)(?:\/|$)/;

/**
 * What decides which package this name is: the folders `node_modules` in which it is looked for, the package's own folder (which may be
 * a link), and its `package.json`. Empty for what is no package.
 */
const packagePaths = (specifier: string, folder: string): string[] => {
  const name = packageName.exec(specifier)?.[1];
  if (name === undefined) return [];
  const paths: string[] = [];
  for (const modules of foldersUp(folder).map((each) => join(each, "node_modules"))) {
    if (!existsSync(modules)) continue;
    const package_ = join(modules, name);
    paths.push(modules);
    if (!existsSync(package_)) continue;
    return [...paths, dirname(package_), package_, join(package_, "package.json")].filter(existsSync);
  }
  return paths;
};
