import { expect, test } from "bun:test";
import type { EngineStatus, Json } from "../../src/client/client.ts";
import { describeStatus } from "../../src/commands/status.ts";
import { describeEvent } from "../../src/commands/status-events.ts";

const quiet: EngineStatus = {
  draining: false,
  stopped: null,
  security: "none",
  jobs: { accepted: 0, done: 0, retried: 0, failed: {}, dropped: {}, waiting: 0, held: 0 },
  queue: { jobs: 0, bytes: 0 },
  tasks: [],
  workers: [],
  locks: [],
  quarantined: [],
  troubles: [],
  paused: [],
  journal: null,
  resources: [],
  safings: [],
  sources: [],
  data: [],
  limits: {},
};
const shown = (status: Partial<EngineStatus>): string[] =>
  describeStatus("tcp://127.0.0.1:9000", { ...quiet, ...status });

/** The rows of the table with that heading, which must be there. */
const rowsUnder = (heading: string, lines: readonly string[], count: number): readonly string[] => {
  expect(lines).toContain(heading);
  const first = lines.indexOf(heading) + 1;
  return lines.slice(first, first + count);
};

test("an emergency stop is the second line: since when, why, and what ends it", () => {
  expect(shown({ stopped: { reason: "a hand is in the arm", since: 1_700_000_000.5 } })[1]).toBe(
    "EMERGENCY STOP since 2023-11-14 22:13:20 UTC: a hand is in the arm; `task-engine reset` ends it",
  );
  expect(shown({ stopped: { reason: "", since: 0 } })[1]).toContain(": no reason given; ");
  expect(shown({ stopped: { reason: "", since: 0, durable: true } })[2]).toBe(shown({ stopped: null })[1]);
  expect(shown({ stopped: { reason: "", since: 0, durable: false, why: "it is full" } })[2]).toBe(
    "NOT ON DISK: the emergency stop will not outlast this engine: it is full",
  );
});

test("what is not safe is said above everything else, and what is being made safe in a table", () => {
  const lines = shown({
    locks: [
      {
        resources: ["motors", "arm"],
        task: "drive",
        since: 1_700_000_000.5,
        why: "onStop of drive has failed 3 times, after TIMEOUT (it ran longer than 100 ms)",
        remedy: "make it safe by hand, fix it, then run task-engine reset",
      },
    ],
    safings: [
      { task: "drive", state: "failed", tries: 2, why: { code: "TIMEOUT", message: "it ran longer than 100 ms" } },
      { task: "grip", state: "running", tries: 1, why: { code: "DEADMAN", message: "its requestor was quiet" } },
    ],
  });
  expect(lines[1]).toBe(
    "LOCKED: motors, arm by drive since 2023-11-14 22:13:20 UTC: onStop of drive has failed 3 times, after TIMEOUT (it ran longer than 100 ms); make it safe by hand, fix it, then run task-engine reset",
  );
  expect(lines[2]).toStartWith("jobs: ");
  expect(rowsUnder("SAFING  STATE    TRIES  AFTER", lines, 2)).toEqual([
    "drive   failed   2      TIMEOUT",
    "grip    running  1      DEADMAN",
  ]);
});

test("a process that the engine works without, and that cannot start, is named with the reason", () => {
  const why = "cannot start: 8080 is in use by another program; name another port by --http";
  expect(shown({ troubles: [{ process: "gateway", since: 1_700_000_000, why }] })[1]).toBe(
    `NOT RUNNING: gateway since 2023-11-14 22:13:20 UTC: ${why}; it is tried again and again`,
  );
});

test("resources show who holds them and how many wait", () => {
  const lines = shown({
    resources: [
      { name: "arm", holder: { task: "grip", serial: "5f1c-2", state: "held" }, waiting: 2 },
      { name: "motors", holder: { task: "drive", serial: "", state: "unsafe" }, waiting: 0 },
      { name: "lamp", holder: null, waiting: 1 },
    ],
  });
  expect(rowsUnder("RESOURCE  STATE     HOLDER         WAITING", lines, 3)).toEqual([
    "arm       held      grip (5f1c-2)  2",
    "motors    NOT SAFE  drive          0",
    "lamp      free      -              1",
  ]);
});

test("sources show their rate, how late they are, and what they have left out", () => {
  const common = { worker: "SOURCE-7", staleMs: null };
  const lines = shown({
    sources: [
      { ...common, name: "gyro", topic: "gyro", everyMs: 10, hz: 99.98, jitterMs: 0.4123, overruns: 2, errors: 1 },
      { ...common, name: "light", topic: "room", everyMs: 60_000, hz: null, jitterMs: null, overruns: 0, errors: 0 },
    ],
  });
  expect(rowsUnder("SOURCE  TOPIC  EVERY  RATE    JITTER P99  OVERRUNS  ERRORS", lines, 2)).toEqual([
    "gyro    gyro   10 ms  100 Hz  0.412 ms    2         1",
    "light   room   60 s   -       -           0         0",
  ]);
});

test("data workers show what they keep, and what was lost", () => {
  const lines = shown({
    data: [
      { worker: "TASK-9", topics: 2, bytes: 2048, missed: 3, dropped: { plainUnauthorized: 1, eventMalformed: 1 } },
    ],
  });
  expect(rowsUnder("DATA WORKER  TOPICS  MEMORY  MISSED  DROPPED", lines, 1)).toEqual([
    "TASK-9       2       2 KiB   3       2",
  ]);
});

test("an engine at peace has none of it", () => {
  expect(shown({}).join("\n")).not.toMatch(/EMERGENCY|SAFE|SAFING|RESOURCE|SOURCE|LOCKED|QUARANTINED|RUNNING/);
});

test("a reason from anywhere moves no cursor and forges no line", () => {
  const [, line] = shown({ stopped: { reason: "\u001b[2Jall is well\nengine", since: 0 } });
  expect(line).not.toInclude("\u001b");
  expect(line).not.toInclude("\n");
});

test("each event is a line with its time, of any form that an engine may send", () => {
  const line = (topic: string, data: Json) => describeEvent({ topic: `$engine/${topic}`, data });
  const at = 1_700_000_000.25;
  const job = { at, job: "k3fxbaqm5t7wq2cd", serial: "5f1c-1", task: "count", requestor: "laptop" };
  expect([
    line("jobs", { ...job, event: "accepted" }),
    line("jobs", { ...job, serial: "", event: "running", worker: "TASK-7" }),
    line("jobs", { ...job, event: "progress", worker: "TASK-7", progress: { done: 1 } }),
    line("jobs", { ...job, event: "ended", worker: "TASK-7", ms: 12.3456, code: null, message: null }),
    line("jobs", { ...job, event: "ended", worker: null, ms: null, code: "EXPIRED", message: "too late" }),
    line("workers", { at, event: "ready", worker: "TASK-7", role: "task", pid: 7, why: null }),
    line("workers", { at, event: "lost", worker: "TASK-7", role: "task", pid: 7, why: "its process has died" }),
    line("stop", { at, stopped: { reason: "a hand", since: at }, durable: true, why: null }),
    line("stop", { at, stopped: { reason: "", since: at }, durable: false, why: "EROFS" }),
    line("stop", { at, stopped: null, durable: null, why: null }),
    line("resources", { at, name: "arm", state: "held", holder: { task: "grip", serial: "" }, waiting: 2 }),
    line("resources", { at, name: "arm", state: "free", holder: null, waiting: 0 }),
  ]).toEqual(
    [
      "count (5f1c-1) accepted",
      "count running by TASK-7",
      'count (5f1c-1) progress: {"done":1}',
      "count (5f1c-1) done by TASK-7 after 12.3 ms",
      "count (5f1c-1) ended: EXPIRED (too late)",
      "TASK-7 ready",
      "TASK-7 lost: its process has died",
      "EMERGENCY STOP: a hand",
      "EMERGENCY STOP, not on the disk: EROFS",
      "no emergency stop",
      "arm held by grip, 2 waiting",
      "arm free, 0 waiting",
    ].map((words) => `22:13:20.250 ${words}`),
  );
  for (const data of [null, 1, [], {}, { at: "now" }]) expect(line("jobs", data)).toBeNull();
  expect(line("schedules", { at })).toBeNull();
});

test("the last events come above the tables, and none leaves no trace", () => {
  const lines = describeStatus("tcp://127.0.0.1:9000", quiet, ["22:13:20.250 TASK-7 ready\u001b[2J", "22:13:19.000 x"]);
  expect(lines.slice(2, 6)).toEqual(["", "22:13:20.250 TASK-7 ready\\x1b[2J", "22:13:19.000 x", ""]);
  expect(describeStatus("tcp://127.0.0.1:9000", quiet, [])).toEqual(shown({}));
});
