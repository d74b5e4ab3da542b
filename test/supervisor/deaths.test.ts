import { expect, test } from "bun:test";
import { quarantineWindowMs } from "../../src/limits.ts";
import type { Begun } from "../../src/process/begun.ts";
import { causeOf, JobDeaths } from "../../src/supervisor/deaths.ts";

const begun = (more: Partial<Begun> = {}): Begun => ({
  job: 7,
  task: "drive",
  runs: true,
  culprit: undefined,
  ...more,
});

test.each<[string, Begun, string | null, boolean, ReturnType<typeof causeOf>]>([
  ["the job that runs, for an exit", begun(), null, false, { task: "drive", isJob: true }],
  ["the job that runs, for a crash", begun(), "SIGSEGV", false, { task: "drive", isJob: true }],
  ["the job that runs, where memory was short", begun(), "SIGKILL", true, { task: "drive", isJob: true }],
  [
    "nobody, for who kills from outside, and a job that runs then",
    begun(),
    "SIGKILL",
    false,
    { task: null, isJob: true },
  ],
  ["nobody, for who kills an idle one", begun({ runs: false }), "SIGKILL", false, { task: null, isJob: false }],
  ["the last job, for an end between jobs", begun({ runs: false }), "SIGSEGV", false, { task: "drive", isJob: true }],
  ["nobody, where none had begun", begun({ task: null, runs: false }), null, false, { task: null, isJob: false }],
  [
    "whoever the worker has named, whatever runs",
    begun({ culprit: "grip" }),
    "SIGKILL",
    false,
    { task: "grip", isJob: true },
  ],
  ["nobody, where the worker has named none", begun({ culprit: null }), null, false, { task: null, isJob: false }],
])("a death is laid to %s", (_, record, signal, isShort, cause) => {
  expect(causeOf(record, signal, isShort)).toEqual(cause);
});

test("three deaths within the window put a task into quarantine, no others, and once", () => {
  const deaths = new JobDeaths();
  const count = (task: string, atMs: number): boolean => deaths.count(task, "ended by SIGSEGV", atMs, 5);
  expect([count("a", 0), count("b", 1), count("a", 2), count("b", 3)]).toEqual([false, false, false, false]);
  expect(count("a", quarantineWindowMs)).toBe(false);
  expect(count("a", quarantineWindowMs + 1)).toBe(true);
  expect(count("a", quarantineWindowMs + 2)).toBe(false);
  expect(deaths.quarantined).toEqual([{ task: "a", since: 5, deaths: 3, how: "ended by SIGSEGV" }]);
  deaths.clear();
  expect(deaths.quarantined).toEqual([]);
  expect(count("a", quarantineWindowMs + 3)).toBe(false);
});
