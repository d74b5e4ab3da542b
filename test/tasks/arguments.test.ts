import { expect, test } from "bun:test";
import * as v from "valibot";
import { type ArgumentSchemas, argumentCheck, type Schema } from "../../src/tasks/arguments.ts";
import { parseDefinition } from "../../src/tasks/definition.ts";
import type { TaskDefinition, TaskFunction } from "../../src/tasks/task.ts";
import { executorFor, resultOf } from "../support/executor.ts";

const metres = v.pipe(v.number(), v.minValue(0, "less than nothing"));
const driveSchemas = {
  args: v.tuple([metres, v.optional(v.picklist(["forward", "back"]), "forward")]),
  kwargs: v.object({ legs: v.optional(v.array(v.object({ speed: v.number() }))) }),
};

/** A task that says what it was given, and whether it ever ran. */
const recorder = (schemas: ArgumentSchemas) => {
  const given: unknown[] = [];
  const run: TaskFunction = (args, kwargs) => {
    given.push({ args, kwargs });
    return "done";
  };
  return { ...executorFor({ drive: run }, schemas), given };
};

test("arguments that the schemas take run the task, in the form that the schemas gave them", async () => {
  const { run, given } = recorder({
    ...driveSchemas,
    args: v.pipe(
      driveSchemas.args,
      v.transform(([far]) => [far * 100]),
    ),
  });
  expect(resultOf(await run("drive", [2], { legs: [{ speed: 1 }], other: true }))).toBe("done");
  expect(given).toEqual([{ args: [200], kwargs: { legs: [{ speed: 1 }] } }]);
});

test.each([
  [[], {}, /^args\[0\]: .*undefined/],
  [["far"], {}, /^args\[0\]: Invalid type: Expected number but received "far"$/],
  [[-1], {}, /^args\[0\]: less than nothing$/],
  [[1, "up"], {}, /^args\[1\]: Invalid type/],
  [[1], { legs: [{ speed: 1 }, { speed: "fast" }] }, /^kwargs\.legs\[1\]\.speed: Invalid type/],
  [["far"], { legs: 3 }, /^args\[0\]: .*; kwargs\.legs: /],
])(
  "%j %j is answered BAD_ARGS with the path of what is wrong, and the task does not run",
  async (args, kwargs, message) => {
    const { run, given } = recorder(driveSchemas);
    expect(await run("drive", args, kwargs)).toMatchObject({
      ok: false,
      code: "BAD_ARGS",
      message: expect.stringMatching(message),
    });
    expect(given).toEqual([]);
  },
);

test("a schema may be async, and a function, and need not be of any library", async () => {
  const validate = async (value: unknown) => {
    await Bun.sleep(1);
    const isEven = Array.isArray(value) && value.length % 2 === 0;
    return isEven
      ? { value }
      : { issues: [{ message: "an odd number of them" }, { message: "odd", path: [{ key: "x" }, 2] }] };
  };
  const schema: Schema = Object.assign(() => undefined, {
    "~standard": { version: 1, vendor: "test", validate } as const,
  });
  const { run, given } = recorder({ args: schema, kwargs: driveSchemas.kwargs });
  expect(await run("drive", [1])).toMatchObject({
    code: "BAD_ARGS",
    message: "args: an odd number of them; args.x[2]: odd",
  });
  expect(resultOf(await run("drive", [1, 2]))).toBe("done");
  expect(given).toEqual([{ args: [1, 2], kwargs: {} }]);
});

test("only a few of many things that are wrong are named", async () => {
  const { run } = recorder({ args: v.array(v.number()) });
  const outcome = await run("drive", Array(1000).fill("x"));
  expect(outcome).toMatchObject({
    code: "BAD_ARGS",
    message: expect.stringMatching(/^args\[0\].*args\[4\]: [^;]*; and 995 more$/),
  });
});

test("a schema that throws is the task's own error, not the requestor's", async () => {
  const broken = (fail: () => never): Schema => ({ "~standard": { version: 1, validate: fail } });
  const { run, given } = recorder({
    args: broken(() => {
      throw new Error("no such table");
    }),
  });
  expect(await run("drive", [1])).toMatchObject({ code: "TASK_ERROR", message: "no such table" });
  expect(given).toEqual([]);
});

test("a job that is told to end while it is being checked does not begin", async () => {
  const gate = Promise.withResolvers<void>();
  const slow: Schema = { "~standard": { version: 1, validate: (value) => gate.promise.then(() => ({ value })) } };
  const { executor, job, given } = recorder({ args: slow });
  const outcome = await new Promise((done) => {
    const one = job("drive", done);
    executor.submit(one);
    setImmediate(() => {
      executor.stop(one, "CANCELLED", "its requestor cancelled it");
      gate.resolve();
    });
  });
  expect(outcome).toMatchObject({ ok: false, code: "CANCELLED", message: "its requestor cancelled it" });
  expect(given).toEqual([]);
});

test("where nothing is to be checked, nothing is done", () => {
  expect(argumentCheck({})).toBeNull();
});

test("a definition has its schemas beside its policy, and what is none is named", () => {
  const drive: TaskDefinition<[number, string], { legs?: { speed: number }[] | undefined }> = {
    ...driveSchemas,
    timeoutMs: 100,
    run: ([far, way]) => far + way.length,
  };
  const definition = parseDefinition(drive);
  if (typeof definition === "string") throw new Error(definition);
  expect(definition.check).toBeFunction();
  expect(definition.policy).toEqual({ timeoutMs: 100 });
  const run = () => 1;
  for (const args of [
    {},
    { "~standard": 1 },
    { "~standard": { version: 2, validate: run } },
    { "~standard": { version: 1 } },
    3,
  ])
    expect(parseDefinition({ run, args })).toBe(
      "has a wrong args: must be a Standard Schema, version 1, as those of valibot and zod are",
    );
});
