/**
 * Requestors in another language, written from the protocol's description alone. They need Debian's `python3-zmq`; where it
 * is missing these tests are left out, except in continuous integration.
 */
import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { startEngine } from "../support/engine.ts";

const python = "/usr/bin/python3";
const hasPyzmq = existsSync(python) && Bun.spawnSync([python, "-c", "import zmq"]).success;

const runScript = async (name: string, ...args: string[]): Promise<void> => {
  const script = Bun.spawn([python, join(import.meta.dir, name), ...args], { stdout: "pipe", stderr: "pipe" });
  const [exitCode, stdout, stderr] = await Promise.all([script.exited, script.stdout.text(), script.stderr.text()]);
  if (exitCode !== 0) throw new Error(`${name} failed, after\n${stdout}with\n${stderr}`);
  expect(stdout).not.toBe("");
};

const limitMs = 60_000;

test.skipIf(!hasPyzmq && process.env.CI === undefined)(
  "pyzmq requestors of version 0.1 are served by the router and by a worker's own port",
  async () => {
    await using engine = await startEngine();
    await runScript("requestor.py", engine.endpoint);
    await runScript("requestor.py", `tcp://127.0.0.1:${engine.ports.worker}`);
  },
  limitMs,
);

test.skipIf(!hasPyzmq && process.env.CI === undefined)(
  "a pyzmq subscriber gets what a pyzmq requestor puts",
  async () => {
    await using engine = await startEngine();
    await runScript("data.py", engine.endpoint, `tcp://127.0.0.1:${engine.ports.worker + 2}`);
  },
  limitMs,
);
