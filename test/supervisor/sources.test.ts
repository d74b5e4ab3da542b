/** The source worker under its supervisor: it runs while the task files have sources. */
import { expect, setDefaultTimeout } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { test } from "../support/concurrent.ts";
import { type Host, supervise } from "../support/supervise.ts";
import { tempFolder } from "../support/temp-folder.ts";

setDefaultTimeout(300_000); // they wait for one another

const tasks = '[{"name":"count"}]';
const gyro = '[{"name":"gyro","topic":"arm/gyro","everyMs":20}]';
const light = '[{"name":"light","topic":"light","everyMs":1000.5}]';

/** Waits for a reload of this list. */
const reload = async (host: Host, marker: string, list: string): Promise<void> => {
  const count = (): number => host.lines.filter((line) => line.includes("Task workers are replaced")).length;
  const before = count();
  writeFileSync(marker, list);
  host.signal("SIGHUP");
  while (count() === before) await Bun.sleep(10);
};

test("an engine starts it where there are sources, and a reload starts, restarts and ends it", async () => {
  using folder = tempFolder();
  const marker = folder.at("marker");
  await using host = supervise({ scan: "list again", marker, restartsMax: 0 });
  await host.line(/^Ready$/);
  expect(host.pidsOf("source worker")).toEqual([]);

  await reload(host, marker, `${tasks}\n${gyro}`);
  const [first = 0] = host.pidsOf("source worker");
  expect(first).toBeGreaterThan(0);
  expect(host.lines).toContain("[-] source_gyro: every 20 ms, to arm/gyro");

  await reload(host, marker, `${tasks}\n${light}`);
  const [second = 0] = host.pidsOf("source worker");
  expect(second).not.toBe(first);
  expect(host.lines).toContain("[-] source_light: every 1000.5 ms, to light");
  const why = "source worker ended with exit code 0, for the task files are read again";
  expect(host.lines).toContain(`Process [${first}]: ${why}; starting another`);

  await reload(host, marker, tasks);
  expect(host.pidsOf("source worker")).toEqual([]);
  expect(host.lines).toContain(`Process [${second}]: ${why}`);

  await reload(host, marker, `${tasks}\n${gyro}`);
  expect(host.pidsOf("source worker")).toHaveLength(1);
  host.signal("SIGTERM");
  expect(await host.outcome()).toEqual({ type: "stopped" });
  expect(host.errorLines).toEqual([]);
});

test("it is told neither keys nor of emergency stops, and is ready before the engine says so", async () => {
  await using host = supervise({ scan: "list sources" });
  await host.line(/^Ready$/);
  const started = host.lines.findIndex((line) => /^Starting process .*: source worker$/.test(line));
  expect(started).toBeGreaterThan(0);
  expect(started).toBeLessThan(host.lines.indexOf("Ready"));
  host.signal("SIGTERM");
  expect(await host.outcome()).toEqual({ type: "stopped" });
  expect(host.lines.filter((line) => line.startsWith("source worker hears"))).toEqual([]);
});

test("however often it dies it is started again, and the engine does not give up for that", async () => {
  using folder = tempFolder();
  const marker = folder.at("marker");
  await using host = supervise({ scan: "list sources", source: "flaky", marker, restartsMax: 0 });
  await host.line(/^Ready$/);
  writeFileSync(marker, "");
  await host.line(/source worker ended with exit code 3; starting another in 200 ms/);
  rmSync(marker);
  while (host.pidsOf("source worker").length === 0) await Bun.sleep(10);
  host.signal("SIGTERM");
  expect(await host.outcome()).toEqual({ type: "stopped" });
});

test("where it cannot start the engine does not start, and says why", async () => {
  await using host = supervise({ scan: "list sources", source: "fatal" });
  expect(await host.outcome()).toEqual({
    type: "failed",
    reason: "source worker cannot start: port 1 is taken",
  });
});
