/** A worker that a person has started, and ends by Ctrl-C while its task moves something. */
import { expect, setDefaultTimeout } from "bun:test";
import { decodeFromWorker, encodeBackend, type RouterHeader } from "../../src/protocol/backend.ts";
import { ProtocolError } from "../../src/protocol/errors.ts";
import { Router } from "../../src/transport/zmq/socket.ts";
import { strayErrorExitCode } from "../../src/worker/failures.ts";
import { test } from "../support/concurrent.ts";
import { type Program, runProgram } from "../support/program.ts";
import { json } from "../support/raw-requestor.ts";
import { until } from "../support/stoppable.ts";
import { livingSleepers, sleepTime } from "../support/swarm.ts";
import { tempFolder } from "../support/temp-folder.ts";

setDefaultTimeout(300_000); // they wait for one another

const robot = `
  const aborted = (signal) => new Promise((resolve) => signal.addEventListener("abort", resolve));
  const onStop = (isHanging) => async ({ log }, { code }) => {
    log("makes safe: " + code);
    if (isHanging) await new Promise(() => undefined);
  };
  export const task_drive = {
    run: async (args, kwargs, { signal, log }) => { log("drives"); await aborted(signal); },
    onStop: onStop(false),
  };
  const litter = (run) => async ([time], kwargs, { log }) => {
    Bun.spawn(["setsid", "sleep", time]);
    log("drives");
    await run();
  };
  export const task_litter = litter(() => Bun.sleep(50));
  export const task_crash = litter(() => { setTimeout(() => { throw new Error("stray"); }); return Bun.sleep(60_000); });
  export const task_jam = { ...task_drive, onStop: onStop(true), onStopMs: 200 };`;

/** A worker in which `task` runs; the test is its router. */
const runningWorker = async (task: string, ...args: readonly unknown[]) => {
  const folder = tempFolder({ "tasks/robot.ts": robot });
  const router = new Router();
  router.bind("tcp://127.0.0.1:*");
  const worker: Program = runProgram(["worker", "--router", router.lastEndpoint, "--tasks", folder.at("tasks")]);
  const [key = new Uint8Array(0)] = await router.receive();
  const say = (header: RouterHeader, ...bodies: Uint8Array[]) =>
    router.trySend([key, ...encodeBackend(header, bodies)]);
  say({ type: "WELCOME" });
  say({ type: "JOBS", jobs: [1], serials: ["s-1"] }, json({ task, args, kwargs: {}, pack: 1 }));
  await worker.line(/drives/);
  return {
    worker,
    /** The types of what it says until FAIL comes, but for the lines of the job's log. */
    untilFail: async (): Promise<string[]> => {
      const types: string[] = [];
      while (types.at(-1) !== "FAIL") {
        const [, ...frames] = await router.receive();
        const message = decodeFromWorker(frames);
        if (message instanceof ProtocolError) throw new Error(message.message);
        if (!["BEAT", "LOG"].includes(message.header.type)) types.push(message.header.type);
      }
      return types;
    },
    [Symbol.asyncDispose]: async () => {
      await worker[Symbol.asyncDispose]();
      router.close();
      folder[Symbol.dispose]();
    },
  };
};

test("a second Ctrl-C ends the job that runs, and the worker when that is safe", async () => {
  await using running = await runningWorker("drive");
  const { worker } = running;
  worker.signal("SIGINT");
  await worker.line(/^Leaving the engine/);
  worker.signal("SIGINT");
  expect(await running.untilFail()).toEqual(["LEAVE", "SAFING", "FAIL"]);
  expect(await worker.ended()).toBe(130);
  expect(worker.lines).toContain(`[WORKER-${worker.pid}(TASK)] drive: makes safe: INTERRUPTED`);
});

test("an onStop that hangs keeps it no longer than its time, and a third Ctrl-C ends it at once", async () => {
  for (const isPatient of [true, false]) {
    await using running = await runningWorker("jam");
    const { worker } = running;
    worker.signal("SIGINT");
    await worker.line(/^Leaving the engine/);
    worker.signal("SIGINT");
    await worker.line(/makes safe: INTERRUPTED/);
    if (!isPatient) worker.signal("SIGINT");
    expect(await worker.ended()).toBe(130);
    expect(worker.errorLines).toEqual([
      "task-engine: stopped at once, on a second signal; the running job was cut off",
    ]);
  }
});

test("what its tasks have started ends with it, be it that it leaves or that a stray error ends it", async () => {
  for (const task of ["litter", "crash"]) {
    const time = sleepTime();
    await using running = await runningWorker(task, time);
    if (task === "litter") {
      await until("it runs", () => livingSleepers(time).length === 1);
      running.worker.signal("SIGTERM");
    }
    expect([task, await running.worker.ended()]).toEqual([task, task === "litter" ? 0 : strayErrorExitCode]);
    expect(livingSleepers(time)).toEqual([]);
  }
});
