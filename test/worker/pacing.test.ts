/** When a worker's answers leave: together where that costs nobody time, and never behind a job that may take long. */
import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { quickRunMs, quickRunsMin } from "../../src/limits.ts";
import { encodeBackend } from "../../src/protocol/backend.ts";
import { Router } from "../../src/transport/zmq/socket.ts";
import { QuickTasks } from "../../src/worker/pacing.ts";
import { runProgram } from "../support/program.ts";
import { json, taskFrame } from "../support/raw-requestor.ts";
import { tempFolder } from "../support/temp-folder.ts";

test("a task is quick after many quick runs in a row, and not any more after a long one", () => {
  const quick = new QuickTasks();
  for (let run = 0; run < quickRunsMin; run++) {
    expect(quick.has("count")).toBe(false);
    quick.note("count", quickRunMs / 2);
  }
  expect(quick.has("count")).toBe(true);
  expect(quick.has("drive")).toBe(false);
  quick.note("count", quickRunMs);
  expect(quick.has("count")).toBe(false);
});

test("what is done before a task that blocks is answered while it blocks", async () => {
  using folder = tempFolder({
    "tasks/block.ts": `
      import { existsSync } from "node:fs";
      export const task_block = ([path]) => { while (!existsSync(path)); return "over"; };`,
  });
  using router = new Router();
  router.bind("tcp://127.0.0.1:*");
  await using worker = runProgram(["worker", "--router", router.lastEndpoint, "--tasks", folder.at("tasks")]);
  const [id = Buffer.alloc(0)] = await router.receive();
  const send = (...frames: (Uint8Array | string)[]): void => {
    router.trySend([id, ...frames]);
  };
  const hand = (ids: readonly number[], bodies: readonly Uint8Array[]): void =>
    send(...encodeBackend({ type: "JOBS", jobs: [...ids], serials: ids.map(String) }, bodies));
  const answers = new Map<number, unknown>();
  const receive = async (): Promise<void> => {
    const [, header, ...bodies]: Buffer[] = await router.receive();
    const { type, jobs } = JSON.parse(String(header));
    if (type !== "DONE") return;
    for (const [index, job] of jobs.entries()) answers.set(job, JSON.parse(String(bodies[index])).data);
  };

  send(...encodeBackend({ type: "WELCOME" }));
  const ids = Array.from({ length: 60 }, (_, index) => index + 1);
  // By the end of these `count` is known as quick, and its answers go together.
  hand(
    ids,
    ids.map((job) => taskFrame([job])),
  );
  const go = folder.at("go");
  hand([61, 62, 63], [taskFrame([61]), json({ task: "block", args: [go], kwargs: {}, pack: 1 }), taskFrame([63])]);
  while (answers.size < 61) await receive();
  expect(answers.has(62)).toBe(false);
  writeFileSync(go, "");
  while (answers.size < 63) await receive();
  for (const job of [...ids, 61, 63]) expect(answers.get(job)).toBe(job);
  expect(answers.get(62)).toBe("over");
  expect(worker.pid).toBeGreaterThan(0);
}, 30_000);
