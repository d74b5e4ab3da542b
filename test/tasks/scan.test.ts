import { expect, setDefaultTimeout, test } from "bun:test";
import { tempFolder } from "../support/temp-folder.ts";

setDefaultTimeout(60_000); // a busy machine computes slowly

const scanModule = Bun.resolveSync("../../src/tasks/scan.ts", import.meta.dir);

/** Scans in a process of its own, as the engine does. */
const scan = async (tasksDir: string | null): Promise<{ stdout: string; stderr: string; exitCode: number }> => {
  const script = `const { runScan } = await import(${JSON.stringify(scanModule)});
    await runScan(${JSON.stringify(tasksDir)}); process.exit(0);`;
  await using child = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe", stderr: "pipe", timeout: 20_000 });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { stdout, stderr, exitCode: await child.exited };
};

test("a scan prints the tasks with their policies, sorted and without prefix, as one JSON list", async () => {
  using folder = tempFolder({
    "z.ts":
      "export const task_turn = { run: () => 1, timeoutMs: 50, idempotent: true }; export const task_arm = () => 1;",
  });
  const stdout = '[{"name":"arm"},{"name":"count"},{"name":"turn","timeoutMs":50,"idempotent":true}]\n';
  expect(await scan(folder.path)).toEqual({ stdout, stderr: "", exitCode: 0 });
});

test("a scan names on stderr what may be taken for a task file and is none", async () => {
  using folder = tempFolder({ "a.ts": "export const task_a = () => 1;", "drive.py": "", "empty.ts": "" });
  const { stdout, stderr, exitCode } = await scan(folder.path);
  expect({ stdout, exitCode }).toEqual({ stdout: '[{"name":"a"},{"name":"count"}]\n', exitCode: 0 });
  expect(stderr.split("\n")).toEqual([expect.stringContaining("empty.ts has no task: it exports nothing"), ""]);
});

test("sources are a list of their own on a second line", async () => {
  using folder = tempFolder({
    "z.ts": `export const source_z = { everyMs: 20, topic: "z/distance", staleMs: 90, run: () => 1 };
      export const source_a = { everyMs: 5, topic: "a", run: () => 1 };`,
  });
  const sources = '[{"name":"a","topic":"a","everyMs":5},{"name":"z","topic":"z/distance","everyMs":20}]';
  expect(await scan(folder.path)).toEqual({ stdout: `[{"name":"count"}]\n${sources}\n`, stderr: "", exitCode: 0 });
});

test("without a folder a scan prints the built-in tasks", async () => {
  expect(await scan(null)).toEqual({ stdout: '[{"name":"count"}]\n', stderr: "", exitCode: 0 });
});

test("what a task file prints as it loads goes to stderr, whichever way it prints", async () => {
  using folder = tempFolder({
    "a.ts": `console.log("from console");
      process.stdout.write("from process\\n");
      Bun.spawnSync(["echo", "from a child"], { stdout: "inherit" });
      setInterval(() => console.log("later"), 1);
      export const task_a = () => 1;`,
  });
  const { stdout, stderr, exitCode } = await scan(folder.path);
  expect(stdout).toBe('[{"name":"a"},{"name":"count"}]\n');
  expect(stderr).toContain("from console\n");
  expect(stderr).toContain("from process\n");
  expect(stderr).toContain("from a child\n");
  expect(exitCode).toBe(0);
});

test("a list longer than a pipe holds arrives whole", async () => {
  const names = Array.from({ length: 1000 }, (_, index) => `${"x".repeat(100)}${index}`);
  using folder = tempFolder({ "a.ts": names.map((name) => `export const task_${name} = () => 1;`).join("\n") });
  const { stdout } = await scan(folder.path);
  expect(JSON.parse(stdout)).toHaveLength(1001);
});
