import { describe, expect, test } from "bun:test";
import { errorMessageLengthMax, frameBytesMax, workerQueueJobsMax } from "../../src/limits.ts";
import type { TaskOutcome } from "../../src/worker/job.ts";
import { errorOf, executorFor, resultOf } from "../support/executor.ts";
import { captureOutput } from "../support/output.ts";

describe("what comes out of a task", () => {
  test("its result, whether it is sync, async or another thenable", async () => {
    const { run } = executorFor({
      sync: (args, kwargs) => ({ args, kwargs }),
      async: async ([text]) => {
        await Bun.sleep(1);
        return text;
      },
      // biome-ignore lint/suspicious/noThenProperty: a promise of another library's making
      thenable: () => ({ then: (resolve: (value: number) => void) => resolve(7) }),
    });
    expect(resultOf(await run("sync", [1, "two"], { three: [null] }))).toEqual({
      args: [1, "two"],
      kwargs: { three: [null] },
    });
    expect(resultOf(await run("async", ["later"]))).toBe("later");
    expect(resultOf(await run("thenable"))).toBe(7);
  });

  test("a DATA frame with the time of the reply, and how long the job ran", async () => {
    const { run } = executorFor({ a: () => 1 });
    const outcome = await run("a");
    if (!outcome.ok) throw new Error(outcome.message);
    expect(JSON.parse(outcome.data.toString())).toEqual({ data: 1, pack: expect.any(Number) });
    expect(outcome.ms).toBeGreaterThanOrEqual(0);
  });

  test("the bytes of a result that is not JSON, and how to read them", async () => {
    const buffer = Buffer.from([1, 2, 3, 4]);
    const array = { contentType: "application/octet-stream" };
    const { run } = executorFor({
      bytes: () => new Uint8Array(buffer),
      later: async () => buffer,
      plain: () => new Uint8Array(buffer).buffer,
      floats: () => new Float32Array([1, 2]),
      photo: () => ({ contentType: "image/jpeg", bytes: buffer }),
      matrix: () => ({ bytes: new Uint16Array([1, 2]), shape: [2, 1] }),
      raw: () => ({ bytes: buffer, dtype: "int32" }),
      empty: () => new Uint8Array(0),
    });
    const type = async (name: string): Promise<unknown> => {
      const outcome = await run(name);
      return outcome.ok ? [outcome.contentType, outcome.data.length] : outcome.message;
    };
    const four = { ...array, dtype: "uint8", shape: [4] };
    expect(await Promise.all(["bytes", "later", "plain"].map(type))).toEqual(Array(3).fill([four, 4]));
    expect(await type("floats")).toEqual([{ ...array, dtype: "float32", shape: [2] }, 8]);
    expect(await type("photo")).toEqual([{ contentType: "image/jpeg" }, 4]);
    expect(await type("matrix")).toEqual([{ ...array, dtype: "uint16", shape: [2, 1] }, 4]);
    expect(await type("raw")).toEqual([{ ...array, dtype: "int32", shape: [1] }, 4]);
    expect(await type("empty")).toEqual([{ ...array, dtype: "uint8", shape: [0] }, 0]);
  });

  test("a copy of the bytes, which a task may fill anew", async () => {
    const buffer = Buffer.from([1]);
    const { run } = executorFor({ read: () => buffer });
    const outcome = await run("read");
    buffer[0] = 2;
    expect(outcome).toMatchObject({ ok: true, data: Buffer.from([1]) });
  });

  test("an error that says what is wrong with a binary result", async () => {
    using _output = captureOutput();
    const bytes = new Uint8Array(3);
    const { run } = executorFor({
      type: () => ({ contentType: "jpeg", bytes }),
      shape: () => ({ bytes, shape: [2] }),
      items: () => ({ bytes, dtype: "int16" }),
      dtype: () => ({ contentType: "image/jpeg", dtype: "uint8", bytes }),
      key: () => ({ mime: "image/jpeg", bytes }),
      large: () => new Uint8Array(frameBytesMax + 1),
      list: () => [bytes],
      other: () => ({ photo: bytes }),
    });
    const message = async (name: string): Promise<string> => errorOf(await run(name));
    expect(await message("type")).toContain("result.contentType: not of the form image/jpeg");
    expect(await message("shape")).toContain("result: 3 bytes, where dtype and shape ask for 2");
    expect(await message("items")).toContain("result: 3 bytes, where dtype and shape ask for 2");
    expect(await message("dtype")).toContain("result.dtype: only with the contentType application/octet-stream");
    expect(await message("key")).toContain("result.mime is not one of bytes, contentType, dtype, shape");
    expect(await message("large")).toContain(`result has ${frameBytesMax + 1} bytes, the limit is ${frameBytesMax}`);
    expect(await message("list")).toContain("result[0] is a Uint8Array, not a plain object");
    expect(await message("other")).toContain("result.photo is a Uint8Array, not a plain object");
  });

  test("null where it returns nothing", async () => {
    const { run } = executorFor({ sync: () => undefined, async: async () => undefined });
    expect(resultOf(await run("sync"))).toBeNull();
    expect(resultOf(await run("async"))).toBeNull();
  });

  test("an error that names the place, and not null, where the result cannot be JSON", async () => {
    using _output = captureOutput();
    const circle: unknown[] = [];
    circle.push(circle);
    const { run } = executorFor({
      nan: () => ({ wheels: [{ speed: 1 }, { speed: Number.NaN }] }),
      bigint: async () => 1n,
      infinity: () => Number.POSITIVE_INFINITY,
      large: () => 2 ** 53,
      hole: () => [1, undefined],
      map: () => new Map(),
      callback: () => () => 1,
      circle: () => circle,
      missing: () => ({ speed: undefined }),
      converted: () => Object.assign([1], { toJSON: () => undefined }),
      down: () => ({
        get volts(): number {
          throw new Error("the bus is down");
        },
      }),
    });
    expect(errorOf(await run("nan"))).toBe("result.wheels[1].speed is NaN, which JSON cannot express");
    expect(errorOf(await run("bigint"))).toBe("result is a bigint, which JSON cannot express");
    expect(errorOf(await run("infinity"))).toBe("result is Infinity, which JSON cannot express");
    expect(errorOf(await run("large"))).toContain("result is a whole number beyond");
    expect(errorOf(await run("hole"))).toBe("result[1] is undefined, which JSON cannot express");
    expect(errorOf(await run("missing"))).toBe("result.speed is undefined, which JSON cannot express");
    expect(errorOf(await run("converted"))).toBe("result has a toJSON, which is not called; send its result");
    expect(errorOf(await run("down"))).toBe("result.volts cannot be read: the bus is down");
    expect(errorOf(await run("map"))).toBe("result is a Map, not a plain object");
    expect(errorOf(await run("callback"))).toBe("result is a function, which JSON cannot express");
    expect(errorOf(await run("circle"))).toMatch(/^result(\[0\])+ is nested deeper than 64, or in a circle$/);
  });

  test("an error where the result is larger than a frame may be", async () => {
    using _output = captureOutput();
    const { run } = executorFor({ long: ([length]) => "x".repeat(Number(length)) });
    expect(errorOf(await run("long", [frameBytesMax]))).toMatch(
      /^result makes a frame of \d+ bytes, the limit is \d+$/,
    );
    expect(resultOf(await run("long", [frameBytesMax - 100]))).toHaveLength(frameBytesMax - 100);
  });

  test("the message of whatever it throws, while the stack goes to the log alone", async () => {
    using output = captureOutput();
    const thrown: unknown = new RangeError("too far");
    const { run } = executorFor({
      sync: () => {
        throw thrown;
      },
      async: async () => {
        await Bun.sleep(1);
        throw "stuck";
      },
      nothing: () => Promise.reject(null),
    });
    expect(errorOf(await run("sync"))).toBe("too far");
    expect(errorOf(await run("async"))).toBe("stuck");
    expect(errorOf(await run("nothing"))).toBe("threw null");
    expect(output.stdout).toBe("");
    expect(output.stderr).toMatch(
      /^\[WORKER-7\(TASK\)\] Task failed: sync \(s-1\): RangeError: too far\n {4}at .*executor\.test\.ts/,
    );
    expect(output.stderr).toContain("[WORKER-7(TASK)] Task failed: async (s-1): stuck\n");
  });

  test("a message of bounded length", async () => {
    using _output = captureOutput();
    const { run } = executorFor({
      wordy: () => {
        throw new Error("x".repeat(1_000_000));
      },
    });
    expect(errorOf(await run("wordy"))).toHaveLength(errorMessageLengthMax);
  });

  test("UNKNOWN_TASK where there is no such task, even for names that every object has", async () => {
    const { run } = executorFor({ a: () => 1 });
    for (const name of ["b", "constructor", "__proto__", ""]) {
      expect(await run(name)).toMatchObject({ ok: false, code: "UNKNOWN_TASK", ms: 0 });
    }
  });
});

describe("the queue", () => {
  test("jobs run one at a time, in the order they came, an async one before the sync ones behind it", async () => {
    const events: string[] = [];
    const { executor, job } = executorFor({
      slow: async ([name]) => {
        events.push(`begin ${name}`);
        await Bun.sleep(2);
        events.push(`end ${name}`);
      },
      quick: ([name]) => void events.push(`quick ${name}`),
    });
    const { promise: allDone, resolve } = Promise.withResolvers<TaskOutcome>();
    const ignore = (): void => void expect(executor.running).toBe(0);
    executor.submit(job("slow", ignore, ["a"]));
    executor.submit(job("quick", ignore, ["b"]));
    executor.submit(job("slow", ignore, ["c"]));
    executor.submit(job("quick", resolve, ["d"]));
    expect([executor.running, executor.queued]).toEqual([0, 4]);
    await Promise.resolve();
    expect([executor.running, executor.queued]).toEqual([1, 3]);
    await allDone;
    expect(events).toEqual(["begin a", "end a", "quick b", "begin c", "end c", "quick d"]);
    expect([executor.running, executor.queued]).toEqual([0, 0]);
  });

  test("nothing is done from within submit", async () => {
    const { executor, job } = executorFor({ a: () => 1 });
    let isSubmitting = true;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    executor.submit(job("a", () => resolve(isSubmitting)));
    isSubmitting = false;
    expect(await promise).toBe(false);
  });

  test("a full queue takes no more, and takes again when there is room", async () => {
    const { executor, job } = executorFor({ a: () => 1 });
    let done = 0;
    const { promise: allDone, resolve } = Promise.withResolvers<void>();
    const count = (): void => {
      if (++done === workerQueueJobsMax) resolve();
    };
    for (let index = 0; index < workerQueueJobsMax; index++) expect(executor.submit(job("a", count))).toBe("accepted");
    expect(executor.submit(job("a", () => expect.unreachable("it was not taken")))).toBe("full");
    await allDone;
    expect(executor.submit(job("a", count))).toBe("accepted");
  });

  test("short tasks run back to back, without a turn of the event loop between them", async () => {
    const { executor, job } = executorFor({ sync: () => 1, async: async () => 1 });
    const events: string[] = [];
    const { promise, resolve } = Promise.withResolvers<void>();
    setImmediate(() => {
      events.push("turn");
      resolve();
    });
    for (const name of ["sync", "async", "sync"]) executor.submit(job(name, () => events.push(name)));
    await promise;
    expect(events).toEqual(["sync", "async", "sync", "turn"]);
  });

  for (const name of ["sync", "async"]) {
    test(`timers and sockets get their turn in an endless row of short ${name} tasks`, async () => {
      const { executor, job } = executorFor({ sync: () => 1, async: async () => 1 });
      let hadTurn = false;
      let jobs = 0;
      setTimeout(() => {
        hadTurn = true;
      }, 1);
      await new Promise<void>((resolve) => {
        const next = (): void => {
          // A starved event loop would never end the row; this does.
          if (hadTurn || ++jobs === 2_000_000) resolve();
          else executor.submit(job(name, next));
        };
        next();
      });
      expect(hadTurn).toBe(true);
    });
  }
});

describe("drain", () => {
  test("the running job ends as it would, those that wait are answered SHUTTING_DOWN, and so are those that come", async () => {
    const { promise: gate, resolve: open } = Promise.withResolvers<void>();
    const { executor, job } = executorFor({ slow: () => gate.then(() => "finished"), quick: () => 1 });
    const outcomes: string[] = [];
    const record = (name: string) => (outcome: TaskOutcome) =>
      void outcomes.push(`${name} ${outcome.ok ? resultOf(outcome) : outcome.code}`);
    executor.submit(job("slow", record("running")));
    executor.submit(job("quick", record("waiting")));
    await Promise.resolve();
    let isDrained = false;
    const drained = executor.drain().then(() => {
      isDrained = true;
    });
    expect(executor.submit(job("quick", record("late")))).toBe("accepted");
    await Bun.sleep(1);
    expect(outcomes).toEqual(["waiting SHUTTING_DOWN", "late SHUTTING_DOWN"]);
    expect(isDrained).toBe(false);
    open();
    await drained;
    expect(outcomes.at(-1)).toBe("running finished");
  });

  test("an idle executor is drained at once, and may be drained twice", async () => {
    const { executor } = executorFor({});
    await executor.drain();
    await executor.drain();
  });

  test("everything that waited is answered by the time it is drained", async () => {
    const { executor, job } = executorFor({ a: () => 1 });
    const codes: string[] = [];
    for (let index = 0; index < 3; index++) {
      executor.submit(job("a", (outcome) => void codes.push(outcome.ok ? "ok" : outcome.code)));
    }
    await executor.drain();
    expect(codes).toEqual(["SHUTTING_DOWN", "SHUTTING_DOWN", "SHUTTING_DOWN"]);
  });
});
