/** A folder of a test's own, with real files in it, gone when the test ends: `using folder = tempFolder({...})`. */
import { existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

export interface TempFolder extends Disposable {
  /** Its real path. */
  readonly path: string;
  /** The path of a file in it. */
  at(name: string): string;
}

/**
 * `files`: name (`lib/helper.ts` makes the folder too) → content. Nobody but its owner may write any of it, whatever the umask.
 * @param parent where it is made, if that folder is there
 */
export const tempFolder = (files: Readonly<Record<string, string>> = {}, parent = tmpdir()): TempFolder => {
  const place = existsSync(parent) ? parent : tmpdir();
  const path = realpathSync(mkdtempSync(join(place, "task-engine-test-")));
  const at = (name: string): string => join(path, name);
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(at(name)), { recursive: true, mode: 0o755 });
    writeFileSync(at(name), content, { mode: 0o644 });
  }
  return { path, at, [Symbol.dispose]: () => rmSync(path, { recursive: true }) };
};
