/** The journal under its supervisor: it runs where a task is durable, before all others. */
import { expect, setDefaultTimeout } from "bun:test";
import { writeFileSync } from "node:fs";
import { needsJournal } from "../../src/supervisor/scan.ts";
import { test } from "../support/concurrent.ts";
import { supervise } from "../support/supervise.ts";
import { tempFolder } from "../support/temp-folder.ts";

setDefaultTimeout(300_000); // they wait for one another

test("an engine without a durable task has no journal, and a reload that brings one starts it", async () => {
  using folder = tempFolder();
  const marker = folder.at("marker");
  await using host = supervise({ scan: "list again", marker, restartsMax: 0 });
  await host.line(/^Ready$/);
  expect(host.pidsOf("journal")).toEqual([]);
  writeFileSync(marker, '[{"name":"upload","durable":true}]');
  host.signal("SIGHUP");
  await host.line(/Task workers are replaced/);
  const [journal = 0] = host.pidsOf("journal");
  expect(journal).toBeGreaterThan(0);
  writeFileSync(marker, '[{"name":"count"}]');
  host.signal("SIGHUP");
  await host.line(/no task any more: upload/);
  expect(host.pidsOf("journal")).toEqual([journal]);
  host.signal("SIGTERM");
  expect(await host.outcome()).toEqual({ type: "stopped" });
});

test("schedules need it, too, for the history of what runs by itself", () => {
  const tasks = [{ name: "count" }];
  const definition = { name: "nightly", task: "count", args: [], kwargs: {}, when: { everyMs: 1000 } };
  expect(needsJournal({ tasks })).toBe(false);
  expect(needsJournal({ tasks, schedules: [definition] })).toBe(true);
  expect(needsJournal({ tasks: [{ name: "count", everyMs: 1000 }] })).toBe(true);
  expect(needsJournal({ tasks: [{ name: "count", schedule: { cron: "@daily" } }] })).toBe(true);
});

test("it is started first, and ends with the router", async () => {
  await using host = supervise({ scan: "list durable" });
  await host.line(/^Ready$/);
  const started = host.lines.filter((line) => line.startsWith("Starting process")).map((line) => line.split(": ")[1]);
  expect(started[0]).toBe("journal");
  host.signal("SIGTERM");
  expect(await host.outcome()).toEqual({ type: "stopped" });
  const ends = host.lines.filter((line) => line.startsWith("Successfully terminated")).map((it) => it.split(": ")[1]);
  expect(new Set(ends.slice(-2))).toEqual(new Set(["journal", "router"]));
});

test("a damaged file stops the engine before its router runs, and nothing else ends it", async () => {
  await using host = supervise({ scan: "list durable", journal: "damaged" });
  await host.line(/^Ready$/);
  expect(host.errorLines).toContain("[ENGINE] Emergency stop: the journal was damaged; `task-engine reset` ends it");
  const told = await host.line(/^router hears \{"type":"stopped"/);
  expect(told).toContain('"reason":"the journal was damaged"');
  host.signal("SIGTERM");
  expect(await host.outcome()).toEqual({ type: "stopped" });
});

test("where its file must not be used, the engine does not start, and says why", async () => {
  await using host = supervise({ scan: "list durable", journal: "fatal" });
  expect(await host.outcome()).toEqual({ type: "failed", reason: "journal cannot start: port 1 is taken" });
});
