import { expect, test } from "bun:test";
import fc from "fast-check";
import * as v from "valibot";
import { messageJobsMax } from "../../src/limits.ts";
import { doneSchema, jobsSchema } from "../../src/protocol/backend.ts";
import {
  plainAnswer,
  plainJobs,
  plainMeta,
  plainResult,
  plainTask,
  plainTaskWithoutOptions,
} from "../../src/protocol/fast-validate.ts";
import { metaSchema, taskSchema, taskSchemaWithOptions } from "../../src/protocol/frames.ts";
import type { JsonObject } from "../../src/protocol/json.ts";
import { replyDataSchema } from "../../src/protocol/replies.ts";

const text = fc.oneof(
  fc.string(),
  fc.constantFrom("", "x".repeat(64), "x".repeat(65), "x".repeat(128), "x".repeat(129)),
);
const anything = fc.oneof(
  text,
  fc.double({ noNaN: true }),
  fc.constant(null),
  fc.boolean(),
  fc.array(text),
  fc.object(),
);
/** Mostly right, so that what is right in all but one field is seen, too. */
const field = (right: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> =>
  fc.oneof({ weight: 9, arbitrary: right }, { weight: 1, arbitrary: anything });
const number = fc.double({ noNaN: true });

const metas = fc.record(
  {
    id: field(text),
    role: field(text),
    version: field(fc.constantFrom(0.1, 0.2, "0.2")),
    type: field(fc.constantFrom("REQ", "ACK")),
    pack: field(number),
    serial: field(text),
    more: anything,
  },
  { requiredKeys: [] },
);
const tasks = fc.record(
  {
    task: field(text),
    args: field(fc.array(anything)),
    kwargs: field(fc.dictionary(fc.string(), anything)),
    pack: field(number),
    options: field(fc.constantFrom({}, { priority: 3 }, { priority: 30 }, { unknown: 1 })),
    more: anything,
  },
  { requiredKeys: ["args", "kwargs"] },
);

const agree =
  (schema: v.GenericSchema, plain: (frame: JsonObject) => unknown, isComplete: (frame: JsonObject) => boolean) =>
  (given: unknown): void => {
    const frame = JSON.parse(JSON.stringify(given)) as JsonObject;
    const mine = plain(frame);
    const { success, output } = v.safeParse(schema, frame);
    if (mine !== undefined) expect({ success, output }).toEqual({ success: true, output: mine });
    else if (isComplete(frame)) expect(success).toBe(false);
  };

test("a META that is plainly one is what valibot makes of it, and any other valibot refuses", () => {
  fc.assert(
    fc.property(
      metas,
      agree(metaSchema(), plainMeta, () => true),
    ),
    { numRuns: 3_000 },
  );
});

test("a TASK that is plainly one is what valibot makes of it, and any other valibot refuses, unless it has options", () => {
  fc.assert(
    fc.property(
      tasks,
      agree(taskSchema(), plainTask, () => true),
    ),
    { numRuns: 1_000 },
  );
  const hasNone = ({ options }: JsonObject): boolean => options === undefined;
  fc.assert(fc.property(tasks, agree(taskSchemaWithOptions(), plainTaskWithoutOptions, hasNone)), { numRuns: 1_000 });
});

const answers = fc.record(
  {
    data: anything,
    error: field(fc.constantFrom({ code: "TIMEOUT", message: "late" }, { code: 1 })),
    pack: field(number),
    more: anything,
  },
  { requiredKeys: [] },
);

test("a DATA that is plainly a result is what valibot makes of it, and any other is an error or none", () => {
  const isResult = ({ data, error }: JsonObject): boolean => data !== undefined && error === undefined;
  fc.assert(fc.property(answers, agree(replyDataSchema(), plainResult, isResult)), { numRuns: 3_000 });
});

const jobId = fc.oneof(
  { weight: 20, arbitrary: fc.maxSafeNat().map((id) => id + 1) },
  { weight: 1, arbitrary: fc.constantFrom(0, -1, 1.5, Number.MAX_SAFE_INTEGER + 1, "1", null) },
);
const jobs = field(
  fc.oneof(
    fc.array(jobId, { maxLength: 8 }),
    fc.constantFrom(messageJobsMax, messageJobsMax + 1).map((length) => new Array<number>(length).fill(1)),
  ),
);

test("a header of jobs or answers that is plainly one is what valibot makes of it, and any other valibot refuses, unless it has more", () => {
  const answers = fc.record(
    {
      type: fc.constant("DONE"),
      jobs,
      ms: field(fc.array(field(number))),
      unsafe: field(fc.constant([1])),
      more: anything,
    },
    { requiredKeys: ["type", "jobs"] },
  );
  const handovers = fc.record(
    {
      type: fc.constant("JOBS"),
      jobs,
      serials: field(fc.array(field(text))),
      ttlMs: field(fc.array(field(fc.constantFrom(null, 5)))),
      at: field(number),
    },
    { requiredKeys: ["type", "jobs"] },
  );
  const isAllSafe = ({ unsafe }: JsonObject): boolean => unsafe === undefined;
  const isEndless = ({ ttlMs, at }: JsonObject): boolean => ttlMs === undefined && at === undefined;
  fc.assert(fc.property(answers, agree(doneSchema, plainAnswer, isAllSafe)), { numRuns: 3_000 });
  fc.assert(fc.property(handovers, agree(jobsSchema, plainJobs, isEndless)), { numRuns: 3_000 });
});
