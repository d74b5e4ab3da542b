/** The README's five commands for a fleet, as they stand there but for the ports, and what they print. */
import { test as anyTest, expect, setDefaultTimeout } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { runCommand, startEngine } from "../../support/engine.ts";
import { taskEngine } from "../../support/executable.ts";
import { lacksNats } from "../../support/nats.ts";
import { freePorts } from "../../support/ports.ts";
import { tempFolder } from "../../support/temp-folder.ts";

setDefaultTimeout(120_000);

const test = anyTest.skipIf(lacksNats);

test("five commands make a fleet of two fresh robots", async () => {
  const readme = readFileSync(join(import.meta.dir, "../../../README.md"), "utf8");
  const [, block = ""] = /^## A fleet\n.*?^```\n(.*?)^```$/ms.exec(readme) ?? [];
  const port = freePorts(1);
  const commands = block
    .trim()
    .split("\n")
    .map((line) =>
      line
        .replace(/^\w+\$ /, "")
        .replace("nats://hub:4222", `nats://127.0.0.1:${port}`)
        .split(" "),
    );
  expect(commands.map(([program]) => program)).toEqual([
    "nats-server",
    "./task-engine",
    "./task-engine",
    "task-engine",
    "task-engine",
  ]);
  const [server = [], r7 = [], r8 = [], robots = [], stop = []] = commands;
  using folder = tempFolder();
  // Beside those of the README, flags that keep it to this machine.
  const own = ["-a", "127.0.0.1", "-p", `${port}`, "-sd", folder.at("js")];
  const hub = Bun.spawn(["/usr/sbin/nats-server", ...server.slice(1), ...own], {
    stdio: ["ignore", "ignore", "ignore"],
  });
  try {
    await using first = await startEngine({ flags: r7.slice(2) });
    await using second = await startEngine({ flags: r8.slice(2) });
    await Promise.all([first.line(/\[LINK\] r7 listens/), second.line(/\[LINK\] r8 listens/)]);
    const env = { PATH: process.env.PATH ?? "" };
    const listed = await runCommand(taskEngine, robots.slice(1), { env });
    expect(listed.stdout).toMatch(/^r7 +ready .* arms .*\nr8 +ready .* arms /m);
    const stopped = await runCommand(taskEngine, stop.slice(1), { env });
    expect(stopped).toMatchObject({
      exitCode: 0,
      stdout: expect.stringMatching(/^r7: stopped since .*\nr8: stopped since /),
    });
  } finally {
    hub.kill("SIGKILL");
    await hub.exited;
  }
});
