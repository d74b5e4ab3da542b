/** Failures of user code: how they are logged, which end the worker, and to which task that is laid. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { failureLogsPerSecondMax } from "../../src/limits.ts";
import { causeOf } from "../../src/supervisor/deaths.ts";
import { FailureLog } from "../../src/worker/failures.ts";
import { test as concurrentTest } from "../support/concurrent.ts";
import { captureOutput } from "../support/output.ts";
import { startTaskWorker } from "../support/task-worker.ts";

setDefaultTimeout(300_000); // they wait for one another

test("within a second only so many failures are written, and the rest is counted when the next one comes", () => {
  using output = captureOutput();
  const log = new FailureLog();
  let made = 0;
  const add = (nowMs: number, line: string): void =>
    log.add(nowMs, () => {
      made++;
      return [line, "  its stack"];
    });
  for (let index = 0; index < failureLogsPerSecondMax + 7; index++) add(100 + index, `failure ${index}`);
  expect(made).toBe(failureLogsPerSecondMax);
  add(1100, "after a second");
  const shown = Array.from({ length: failureLogsPerSecondMax }, (_, index) => `failure ${index}\n  its stack\n`);
  expect(output.stderr).toBe(`${shown.join("")}… and 7 more failures, not shown\nafter a second\n  its stack\n`);
});

const strayModule = Bun.resolveSync("../../src/worker/failures.ts", import.meta.dir);

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

/** Does that as soon as the other task's job runs. */
const late = (work: string): string => `() => {
  const timer = setInterval(() => {
    if (!isGoodRunning) return;
    clearInterval(timer);
    ${work}
  }, 5);
}`;

const robot = (bad: string): string => `
let isGoodRunning = false;
const wait = async () => { while (!isGoodRunning) await Bun.sleep(5); };
export const task_bad = ${bad};
export const task_good = async () => { isGoodRunning = true; await Bun.sleep(30_000); };
`;

/** What a worker was at when it died: first \`bad\` was done, then \`good\` ran. */
const endOf = async (files: Record<string, string>) => {
  await using worker = await startTaskWorker(files);
  worker.run(1, "bad");
  await worker.heard("DONE", 1);
  worker.run(2, "good");
  const how = await worker.ended();
  return { how, record: worker.record };
};

concurrentTest.each([
  ["throws", late("throw new Error('late')"), 70],
  ["rejects", late("Promise.reject(new Error('late'))"), 70],
  ["exits", late("process.exit(0)"), 0],
  ["kills its process", late("process.kill(process.pid, 'SIGKILL')"), "SIGKILL"],
  ["has an async part that throws", "() => void (async () => { await wait(); null.x; })()", 70],
  ["has an async part that exits", "() => void wait().then(() => process.exit(9))", 9],
  ["throws in a microtask", "() => void wait().then(() => queueMicrotask(() => { throw new Error('x') }))", 70],
  [
    "throws in a child's callback",
    "() => void wait().then(() => Bun.spawn(['true'], { onExit() { throw new Error('x') } }))",
    70,
  ],
])("what a task leaves behind that %s is laid to it, not to the one that runs then", async (_, bad, exit) => {
  const { how, record } = await endOf({ "robot.ts": robot(bad) });
  expect(how).toBe(exit);
  expect(record).toEqual({ job: 2, task: "good", runs: true, culprit: "bad" });
  expect(causeOf(record, typeof how === "string" ? how : null, false)).toEqual({ task: "bad", isJob: true });
});

test("in a file with one task all that throws is laid to that", async () => {
  const { record } = await endOf({
    "bad.ts":
      "export const task_bad = () => void helper();\nconst helper = async () => { while (!globalThis.isGood) await Bun.sleep(5); throw new Error(); };",
    "good.ts": "export const task_good = () => { globalThis.isGood = true; return Bun.sleep(30_000); };",
  });
  expect(record).toMatchObject({ task: "good", culprit: "bad" });
});

test("what belongs to no task is laid to none, though a job runs", async () => {
  const timer = "setInterval(() => { if (isGoodRunning) throw new Error('loaded'); }, 5);\n";
  const { record } = await endOf({ "robot.ts": `${timer}${robot("() => 1")}` });
  expect(record).toEqual({ job: 2, task: "good", runs: true, culprit: null });
  expect(causeOf(record, null, false)).toEqual({ task: null, isJob: false });
});

test("what ends the process without a word is laid to the job that runs, one of the worker's own port among them", async () => {
  await using worker = await startTaskWorker({ "robot.ts": "export const task_crash = () => process.abort();" });
  worker.run(1, "crash");
  const how = await worker.ended();
  expect(how).toBeString();
  expect(worker.record).toMatchObject({ job: 1, task: "crash", runs: true });
  expect(causeOf({ ...worker.record, culprit: undefined }, how as string, false)).toEqual({
    task: "crash",
    isJob: true,
  });
});
