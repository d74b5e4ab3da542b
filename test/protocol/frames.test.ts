import { describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import * as v from "valibot";
import { messageJobsMax } from "../../src/limits.ts";
import { doneSchema, fastAnswer, fastJobs, jobsSchema } from "../../src/protocol/backend.ts";
import { ProtocolError } from "../../src/protocol/errors.ts";
import {
  checkTask,
  fastMeta,
  fastTask,
  metaSchema,
  metaText,
  taskSchema,
  taskSchemaWithOptions,
} from "../../src/protocol/frames.ts";
import type { JsonObject } from "../../src/protocol/json.ts";
import { fastResult, replyDataSchema } from "../../src/protocol/replies.ts";
import { decodeRequest, decodeTaskFrame } from "../../src/protocol/requests.ts";
import { spoiled, spoilings } from "../support/spoiled.ts";

setDefaultTimeout(60_000); // a busy machine computes slowly

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
    version: field(fc.constantFrom(0.1, 0.2, "0.2", 0.3)),
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
  (schema: v.GenericSchema, fast: (frame: JsonObject) => unknown, isComplete: (frame: JsonObject) => boolean) =>
  (given: unknown): void => {
    const frame = JSON.parse(JSON.stringify(given)) as JsonObject;
    const mine = fast(frame);
    const { success, output } = v.safeParse(schema, frame);
    if (mine !== undefined) expect({ success, output }).toEqual({ success: true, output: mine });
    else if (isComplete(frame)) expect(success).toBe(false);
  };

test("a META that its fast function recognizes is what valibot makes of it, and any other valibot refuses", () => {
  fc.assert(
    fc.property(
      metas,
      agree(metaSchema(), fastMeta, () => true),
    ),
    { numRuns: 3_000 },
  );
});

test("a TASK that its fast function recognizes is what valibot makes of it, and any other valibot refuses", () => {
  fc.assert(
    fc.property(
      tasks,
      agree(taskSchema(), fastTask, () => true),
    ),
    { numRuns: 1_000 },
  );
});

test("a TASK is checked by the schema of its version", () => {
  fc.assert(
    fc.property(tasks, fc.constantFrom<0.1 | 0.2 | 0.3>(0.1, 0.2, 0.3), (given, version) => {
      const frame = JSON.parse(JSON.stringify(given)) as JsonObject;
      const { success, output } = v.safeParse(version === 0.1 ? taskSchema() : taskSchemaWithOptions(), frame);
      const checked = checkTask(frame, version);
      if (success) expect(checked).toEqual(output as never);
      else expect(checked).toBeInstanceOf(ProtocolError);
    }),
    { numRuns: 1_000 },
  );
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

test("a DATA that its fast function recognizes as a result is what valibot makes of it, and any other is an error or none", () => {
  const isResult = ({ data, error }: JsonObject): boolean => data !== undefined && error === undefined;
  fc.assert(fc.property(answers, agree(replyDataSchema(), fastResult, isResult)), { numRuns: 3_000 });
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

test("a header of jobs or answers that its fast function recognizes is what valibot makes of it, and any other valibot refuses, unless it has more", () => {
  const answers = fc.record(
    {
      type: fc.constant("DONE"),
      jobs,
      ms: field(fc.array(field(number))),
      unsafe: field(fc.constant([1])),
      contentTypes: field(fc.constantFrom([null], [{ contentType: "image/jpeg" }], [{ contentType: 1 }])),
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
  const isPlain = ({ unsafe, contentTypes }: JsonObject): boolean => unsafe === undefined && contentTypes === undefined;
  const isEndless = ({ ttlMs, at }: JsonObject): boolean => ttlMs === undefined && at === undefined;
  fc.assert(fc.property(answers, agree(doneSchema.schema(), fastAnswer, isPlain)), { numRuns: 3_000 });
  fc.assert(fc.property(handovers, agree(jobsSchema.schema(), fastJobs, isEndless)), { numRuns: 3_000 });
});

/* ── A frame means the same as text and as bytes ─────────────────────────────────────────────────────────────────── */

describe("a frame that a transport gives as text", () => {
  test("is the TASK that it is as bytes, also where somebody has spoiled it", () => {
    const meta = metaText("c", "requestor", 0.2, "REQ", "1");
    const decode = (frame: Buffer | string): unknown => {
      const request = decodeRequest([meta, frame]);
      return request.kind === "task" ? request.parts.map(({ name, task }) => ({ name, task })) : request;
    };
    fc.assert(
      fc.property(
        tasks.map((task) => JSON.stringify(task)),
        fc.array(spoilings, { maxLength: 20 }),
        (text, several) => {
          for (const other of [text, ...several.map(([at, length, by]) => spoiled(text, at, length, by))]) {
            if (!other.includes('"data"')) expect(decode(other)).toEqual(decode(Buffer.from(other)));
          }
        },
      ),
      { numRuns: 1_000 },
    );
  });
});

describe("a key of TASK that is there twice is refused", () => {
  test("a named argument", () => {
    const text = (kwargs: string): string => `{"task":"count","args":["kwargs",":{"],"kwargs":{${kwargs}},"pack":1}`;
    for (const kwargs of [
      '"a":1',
      '"a":"a","b":"a"',
      '"kwargs":1,"a":""',
      '"a": "}", "b": "x:"',
      '"a":1,"A":2,"b":null',
    ])
      expect(decodeTaskFrame(text(kwargs))).toMatchObject({ name: "count" });
    for (const kwargs of [
      '"a":1,"a":1',
      '"a":1,"b":2,"a":3',
      '"kwargs":1, "kwargs": 2',
      '"}":":","}":":"',
      '"":1,"":2',
    ])
      expect(decodeTaskFrame(text(kwargs))).toMatchObject({ code: "BAD_FRAME" });
  });
});

test.each([
  ["a whole number that loses digits", '{"task":"count","args":[12345678901234567],"kwargs":{},"pack":1}'],
  ["the key __proto__", '{"task":"count","args":[],"kwargs":{"__proto__":1},"pack":1}'],
  ["the key constructor", '{"task":"count","args":[],"kwargs":{"constructor":1},"pack":1}'],
  ["no name", '{"task":"","args":[],"kwargs":{},"pack":1}'],
])("a TASK that has %s is refused", (_, text) => {
  expect(decodeTaskFrame(text)).toMatchObject({ code: "BAD_FRAME" });
});
