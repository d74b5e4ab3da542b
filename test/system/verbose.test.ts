import { expect, setDefaultTimeout } from "bun:test";
import { test } from "../support/concurrent.ts";
import { type Engine, startEngine } from "../support/engine.ts";

setDefaultTimeout(300_000); // they wait for one another

/** What names a message that passes: router and worker, on its way there and back. */
const passing = (engine: Engine): string[] =>
  engine.lines.filter((line) => /Forwarding|Received task|Task complete|Received data/.test(line));

test("with --verbose router and workers print each message as they pass it on, and what a stranger writes cannot forge a line or move the cursor", async () => {
  await using engine = await startEngine({ flags: ["--verbose", "--task-workers", "1"] });
  expect((await engine.run("send", "count", "2", "3", "--router", engine.endpoint)).stdout).toBe("5\n");
  await engine.run("data", "put", "elbow", "30", "--router", engine.endpoint);
  const { frontend, backend } = engine.ports;
  await engine.line(/\[WORKER-\d+\(TASK\)\] Received task: \{"task":"count","args":\[2,3\]/);
  await engine.line(/\[WORKER-\d+\(TASK\)\] Task complete: \{"data":5/);
  await engine.line(new RegExp(`\\[ROUTER-${frontend}\\(FRONTEND\\)\\] Forwarding: .*"task":"count"`));
  await engine.line(new RegExp(`\\[ROUTER-${backend}\\(BACKEND\\)\\] Forwarding: .*"type":"ACK".*"data":5`));
  await engine.line(/\[WORKER-\d+\(DATA\)\] Received data: elbow .*30/);

  const forged = "\u001b[2J\n[ENGINE] Ready: send tasks to evil";
  await engine.run("send", "count", JSON.stringify(forged), "--router", engine.endpoint);
  await engine.line(/Received task: .*evil/);
  expect(engine.lines.filter((line) => line.startsWith("[ENGINE]"))).toHaveLength(1);
  expect(engine.lines.join("").includes("\u001b")).toBe(false);
});

test("without it they print none", async () => {
  await using engine = await startEngine({ flags: ["--task-workers", "1"] });
  for (let count = 0; count < 3; count++) await engine.run("send", "count", "2", "3", "--router", engine.endpoint);
  await engine.run("data", "put", "elbow", "30", "--router", engine.endpoint);
  expect(passing(engine)).toEqual([]);
});
