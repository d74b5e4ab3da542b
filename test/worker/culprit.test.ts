/** Whose fault the end of a worker is: told by real workers that die, to the record that outlives them. */
import { expect, test } from "bun:test";
import { causeOf } from "../../src/supervisor/deaths.ts";
import { startTaskWorker } from "../support/task-worker.ts";

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

test.each([
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
