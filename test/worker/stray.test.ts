import { expect, test } from "bun:test";

const strayModule = Bun.resolveSync("../../src/worker/stray.ts", import.meta.dir);

const runStray = async (code: string): Promise<{ stderr: string; exitCode: number }> => {
  const script = `const { exitOnStrayErrors } = await import(${JSON.stringify(strayModule)});
    exitOnStrayErrors("[WORKER-7(TASK)]", (thrown) => thrown?.by); ${code}`;
  await using child = Bun.spawn([process.execPath, "-e", script], { stderr: "pipe", timeout: 20_000 });
  return { stderr: await child.stderr.text(), exitCode: await child.exited };
};
const headline = "[WORKER-7(TASK)] An error outside of any job, stopping for a clean start:";

test("a timer that throws ends the process with its own exit code and a line that says why", async () => {
  const { stderr, exitCode } = await runStray(
    "setTimeout(() => { throw new RangeError('late') }, 1); setInterval(() => 0, 1000);",
  );
  expect(stderr).toStartWith(`${headline} RangeError: late\n`);
  expect(exitCode).toBe(70);
});

test("what a job has left behind is laid to its task", async () => {
  const code =
    "setTimeout(() => { throw Object.assign(new Error('late'), { by: 'drive' }) }, 1); setInterval(() => 0, 1000);";
  const { stderr, exitCode } = await runStray(code);
  expect(stderr).toStartWith(
    "[WORKER-7(TASK)] An error that a job of drive has left behind, stopping for a clean start: Error: late\n",
  );
  expect(exitCode).toBe(70);
});

test("a rejected promise that nobody awaits does too, whatever it was rejected with", async () => {
  const { stderr, exitCode } = await runStray("Promise.reject(null); setInterval(() => 0, 1000);");
  expect(stderr).toBe(`${headline} threw null\n`);
  expect(exitCode).toBe(70);
});
