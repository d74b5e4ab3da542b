/** What a task file brings along: the files that it imports, and those that these import. */
import { readFileSync } from "node:fs";
import { dirname, extname, isAbsolute } from "node:path";
import { StartError } from "../lifecycle.ts";
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
 * in `tasks/lib/` does as much as code in `tasks/`. An import whose name is computed at run time cannot be seen from here.
 * `trusted` are the real paths known so far, to which this adds. Throws StartError.
 */
export const trustWithImports = (path: string, trusted: Set<string>): void => {
  const waiting = [path];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const realPath = trustedRealPath(next);
    if (trusted.has(realPath)) continue;
    if (fetchedPackage.test(realPath)) {
      throw new StartError(`${realPath} is what Bun has fetched unasked; install the package beside the task files`);
    }
    trusted.add(realPath);
    waiting.push(...importedFiles(realPath));
  }
};

const importedFiles = (realPath: string): string[] => {
  const loader = loaders[extname(realPath)];
  if (loader === undefined) return [];
  const source = readFileSync(realPath, "utf8");
  return scan(source, loader)
    .map((specifier) => resolve(specifier, dirname(realPath)))
    .filter((resolved) => resolved !== null && isAbsolute(resolved)) as string[];
};

/** A syntax error or a missing file is for the load to report: it knows the place. Nothing of such a file will run. */
const scan = (source: string, loader: Bun.JavaScriptLoader): string[] => {
  try {
    return new Bun.Transpiler({ loader }).scanImports(source).map(({ path }) => path);
  } catch {
    return [];
  }
};

const resolve = (specifier: string, folder: string): string | null => {
  try {
    return Bun.resolveSync(specifier, folder);
  } catch {
    return null;
  }
};
