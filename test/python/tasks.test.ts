/**
 * Arguments, policies, results and files of Python tasks: one process of Python runs all cases. In continuous integration each other
 * version of Python in the PATH does so, too.
 */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";

const python = process.env.PYTHON ?? "/usr/bin/python3";
const env = { PATH: process.env.PATH ?? "" };
const versionOf = (interpreter: string): string =>
  Bun.spawnSync([interpreter, "-c", "import sys; print(sys.version_info[:2])"], { env }).stdout.toString();

const own = versionOf(python);
const others = ["9", "10", "11", "12", "13", "14"]
  .map((minor) => (process.env.CI === undefined ? null : Bun.which(`python3.${minor}`)))
  .filter((path) => path !== null)
  .filter((path) => !["", own].includes(versionOf(path)));

for (const interpreter of [python, ...others]) {
  const command = [
    interpreter,
    "-I",
    "-B",
    join(import.meta.dir, "cases.py"),
    join(import.meta.dir, "../../src/python"),
  ];
  const { stdout, stderr, exitCode } = Bun.spawnSync(command, { env });
  const lines = stdout.toString().trimEnd().split("\n");

  describe(interpreter, () => {
    test("all cases have run", () => {
      expect({ exitCode, stderr: stderr.toString() }).toEqual({ exitCode: 0, stderr: "" });
      expect(lines.length).toBeGreaterThan(80);
    });

    for (const line of lines) {
      const [name, found, expected] = JSON.parse(line);
      test(name, () => expect(found).toEqual(expected));
    }
  });
}
