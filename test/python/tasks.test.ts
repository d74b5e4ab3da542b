/** Arguments, policies, results and files of Python tasks: one process of Python runs all cases. */
import { expect, test } from "bun:test";
import { join } from "node:path";

const python = process.env.PYTHON ?? "/usr/bin/python3";
const command = [python, "-I", "-B", join(import.meta.dir, "cases.py"), join(import.meta.dir, "../../src/python")];
const { stdout, stderr, exitCode } = Bun.spawnSync(command, { env: { PATH: process.env.PATH ?? "" } });
const lines = stdout.toString().trimEnd().split("\n");

test("all cases have run", () => {
  expect({ exitCode, stderr: stderr.toString() }).toEqual({ exitCode: 0, stderr: "" });
  expect(lines.length).toBeGreaterThan(80);
});

for (const line of lines) {
  const [name, found, expected] = JSON.parse(line);
  test(name, () => expect(found).toEqual(expected));
}
