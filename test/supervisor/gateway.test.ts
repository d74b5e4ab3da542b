/** The gateway under its supervisor: the engine works without it. */
import { expect, setDefaultTimeout } from "bun:test";
import { test } from "../support/concurrent.ts";
import { supervise } from "../support/supervise.ts";

setDefaultTimeout(300_000); // they wait for one another

test("a gateway that cannot start, again and again, costs the engine nothing, and the log one line", async () => {
  await using host = supervise({ gateway: "fatal", restartsMax: 0 });
  await host.line(/^Ready$/);
  await host.line(/gateway cannot start: port 1 is taken; starting another in 100 ms/);
  while (host.lines.filter((line) => line === "fatal tries").length < 3) await Bun.sleep(10);
  expect(host.errorLines.filter((line) => /gateway cannot start/.test(line))).toHaveLength(1);
  expect(host.lines.filter((line) => /^Starting process .*: gateway$/.test(line))).toHaveLength(1);
  host.signal("SIGTERM");
  expect(await host.outcome()).toEqual({ type: "stopped" });
});

test("a gateway that was killed is started again, after the engine is ready, and gets no keys", async () => {
  await using host = supervise({ gateway: "good", restartsMax: 0 });
  await host.line(/^Ready$/);
  await host.line(/^Starting process .*: gateway$/);
  const started = host.lines.findIndex((line) => /^Starting process .*: gateway$/.test(line));
  expect(started).toBeGreaterThan(host.lines.indexOf("Ready"));
  const [pid = 0] = host.pidsOf("gateway");
  process.kill(pid, "SIGKILL");
  await host.line(/gateway ended by SIGKILL.*; starting another in 100 ms/);
  while (host.pidsOf("gateway").length === 0 || host.pidsOf("gateway")[0] === pid) await Bun.sleep(10);
  host.signal("SIGTERM");
  expect(await host.outcome()).toEqual({ type: "stopped" });
  expect(host.lines.filter((line) => line.startsWith("gateway hears"))).toEqual([]);
});
