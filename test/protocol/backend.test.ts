import { expect, test } from "bun:test";
import fc from "fast-check";
import { envelopeBytesMax, sourcesMax, watchedTopicsMax } from "../../src/limits.ts";
import {
  decodeFromRouter,
  decodeFromWorker,
  encodeBackend,
  type RouterHeader,
  type WorkerHeader,
} from "../../src/protocol/backend.ts";
import { openEnvelope } from "../../src/protocol/envelope.ts";
import { ProtocolError } from "../../src/protocol/errors.ts";

const bytes = (frames: readonly (Uint8Array | string)[]): Uint8Array[] => frames.map((frame) => Buffer.from(frame));
const body = Buffer.from('{"data":1,"pack":1}');

test.each<[WorkerHeader, Uint8Array[]]>([
  [{ type: "READY", role: "task", id: "TASK-1", pid: 1, tasks: ["count"], endpoint: "tcp://127.0.0.1:10000" }, []],
  [{ type: "BEAT" }, []],
  [{ type: "DONE", jobs: [1, 2], ms: [0.1, 0.2] }, [body, body]],
  [{ type: "DONE", jobs: [1, 2], ms: [0, 0], contentTypes: [null, { contentType: "image/jpeg" }] }, [body, body]],
  [{ type: "FAIL", jobs: [3], ms: [0] }, [body]],
  [{ type: "PUBLISH", topic: "t" }, [body]],
  [
    {
      ...{ type: "READY", role: "source", id: "SOURCE-2", pid: 2, tasks: [], endpoint: "" },
      sources: [{ name: "gyro", topic: "arm/gyro", everyMs: 12.5, staleMs: 100 }],
    },
    [],
  ],
  [{ type: "SOURCES", sources: [{ name: "gyro", hz: 79.98, jitterMs: 0.4, overruns: 1, errors: 0 }] }, []],
  [{ type: "STORE", topics: 3, bytes: 70_000, missed: 12, dropped: { plainUnauthorized: 2 } }, []],
  [{ type: "SOURCES", sources: [{ name: "gyro", hz: null, jitterMs: null, overruns: 0, errors: 0 }] }, []],
  [{ type: "WATCHED", topics: ["$engine/jobs", "$engine/of-a-later-version"] }, []],
  [{ type: "WATCHED", topics: [] }, []],
  [{ type: "HEARD" }, []],
  [{ type: "OWNERS" }, []],
  [{ type: "COMMITTED", through: 7, failure: null }, []],
  [
    {
      type: "RECOVERED",
      kept: [
        {
          ...{ job: "k3fxbaqm5t7wq2cd", place: 3, task: "upload", user: null, requestor: "CLIENT-1", serial: "a-1" },
          ...{ state: "queued", accepted: 1700000000.5, begun: null, ended: null, tries: 0, claims: 0, ms: null },
          ...{ code: null, by: null, isDead: false, onBehalf: { name: "anna", rights: ["send"] }, schedule: "nightly" },
        },
      ],
      next: 4,
      schedules: [{ schedule: "nightly", rule: "0 3 * * *", at: 1700000000.5 }],
    },
    [body, Buffer.alloc(0)],
  ],
  [{ type: "LOGGED", request: 3 }, [body]],
])("what a worker sends comes out as it went in: %o", (header, bodies) => {
  expect(decodeFromWorker(bytes(encodeBackend(header, bodies)))).toEqual({ header, bodies });
});

test.each<[RouterHeader, Uint8Array[]]>([
  [{ type: "WELCOME" }, []],
  [{ type: "WHO" }, []],
  [{ type: "JOBS", jobs: [1], serials: ["a"] }, [body]],
  [{ type: "PUT", jobs: [1, 2], topics: ["a", "b"] }, [body, body]],
  [{ type: "GET", jobs: [1], topics: ["a"] }, []],
  [{ type: "EVENTS", topics: ["$engine/jobs", "$engine/jobs"] }, [body, body]],
  [{ type: "EVENTS", topics: ["$engine/jobs", "$engine/stop"], lost: [0, 7] }, [body, body]],
  [{ type: "APPEND", from: 1, entries: [{ entry: "returned", job: "k3fxbaqm5t7wq2cd", tries: 0, claim: 1 }] }, [body]],
  [{ type: "RECOVER", from: 0 }, []],
  [{ type: "LOGS", request: 3, job: "k3fxbaqm5t7wq2cd" }, []],
])("what the router sends comes out as it went in: %o", (header, bodies) => {
  expect(decodeFromRouter(bytes(encodeBackend(header, bodies)))).toEqual({ header, bodies });
});

test("a message whose lists or frames do not match in number is refused", () => {
  const refused = [
    decodeFromWorker(bytes(encodeBackend({ type: "DONE", jobs: [1, 2], ms: [0.1, 0.2] }, [body]))),
    decodeFromWorker(bytes(encodeBackend({ type: "DONE", jobs: [1, 2], ms: [0.1] }, [body, body]))),
    decodeFromWorker(
      bytes(encodeBackend({ type: "DONE", jobs: [1, 2], ms: [0, 0], contentTypes: [null] }, [body, body])),
    ),
    decodeFromRouter(bytes(encodeBackend({ type: "JOBS", jobs: [1], serials: [] }, [body]))),
    decodeFromRouter(bytes(encodeBackend({ type: "WHO" }, [body]))),
    decodeFromRouter(bytes(encodeBackend({ type: "APPEND", from: 1, entries: [{ entry: "log", job: "a" }] }))),
    decodeFromWorker(bytes(encodeBackend({ type: "RECOVERED", kept: [], next: null, schedules: [] }, [body]))),
    decodeFromRouter(bytes(encodeBackend({ type: "EVENTS", topics: ["$engine/jobs"] }))),
    decodeFromRouter(bytes(encodeBackend({ type: "EVENTS", topics: ["$engine/jobs"], lost: [1, 2] }, [body]))),
    decodeFromRouter(bytes(encodeBackend({ type: "EVENTS", topics: [] }))),
    decodeFromWorker(bytes(encodeBackend({ type: "HEARD" }, [body]))),
    decodeFromWorker(bytes(encodeBackend({ type: "WATCHED", topics: Array(watchedTopicsMax + 1).fill("t") }))),
  ];
  for (const result of refused) expect(result).toBeInstanceOf(ProtocolError);
});

test("READY and SOURCES with a source that is none are refused, and the error names the place", () => {
  const ready = { type: "READY", role: "source", id: "SOURCE-2", pid: 2, tasks: [], endpoint: "" };
  const report = { name: "gyro", hz: 1, jitterMs: 1, overruns: 0, errors: 0 };
  const refused: readonly [object, string][] = [
    [{ ...ready, role: "sources" }, "HEADER.role: "],
    [{ ...ready, sources: {} }, "HEADER.sources: "],
    [{ ...ready, sources: [{ name: "gyro", topic: "", everyMs: 1 }] }, "HEADER.sources.0.topic: is empty"],
    [{ ...ready, sources: [{ name: "gyro", topic: "gyro" }] }, "HEADER.sources.0.everyMs: "],
    [{ ...ready, sources: Array(sourcesMax + 1).fill({ name: "g", topic: "g", everyMs: 1 }) }, "HEADER.sources: "],
    [{ type: "SOURCES" }, "HEADER.sources: "],
    [{ type: "SOURCES", sources: [{ ...report, name: 7 }] }, "HEADER.sources.0.name: "],
    [{ type: "SOURCES", sources: [{ ...report, hz: "fast" }] }, "HEADER.sources.0.hz: "],
    [{ type: "SOURCES", sources: Array(sourcesMax + 1).fill(report) }, "HEADER.sources: "],
  ];
  for (const [header, place] of refused) {
    const result = decodeFromWorker([Buffer.from(JSON.stringify(header))]);
    expect(result).toMatchObject({ code: "BAD_FRAME", message: expect.stringContaining(place) });
  }
});

test("any frames at the backend give a message or a ProtocolError, and never an exception", () => {
  const frame = fc.oneof(
    fc.uint8Array({ maxLength: 40 }),
    fc.jsonValue().map((value) => Buffer.from(JSON.stringify(value))),
  );
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 4 }), (frames) => {
      expect(decodeFromWorker(frames)).toBeDefined();
      expect(decodeFromRouter(frames)).toBeDefined();
    }),
    { numRuns: 2000 },
  );
});

test("any contentTypes in DONE are those of the schema or a ProtocolError, and never an exception", () => {
  const key = fc.oneof(fc.constantFrom<fc.JsonValue>("a/b", "int8", "", [2], [-1], null), fc.jsonValue());
  const type = fc.oneof(
    fc.constant(null),
    fc.record({ contentType: key, dtype: key, shape: key }, { requiredKeys: [] }),
  );
  fc.assert(
    fc.property(fc.oneof(fc.array(type, { maxLength: 2 }), fc.jsonValue()), (contentTypes) => {
      const header = Buffer.from(JSON.stringify({ type: "DONE", jobs: [1], ms: [1], contentTypes }));
      const message = decodeFromWorker([header, body]);
      if (message instanceof ProtocolError || message.header.type !== "DONE") return;
      expect(message.header.contentTypes?.length ?? 1).toBe(1);
    }),
    { numRuns: 1000 },
  );
});

test("an envelope is all up to the empty frame, proxies' ids included", () => {
  const [hop, empty, meta] = [Buffer.from("hop"), Buffer.alloc(0), Buffer.from("{}")];
  expect(openEnvelope("id", [empty, meta])).toEqual({
    requestor: { peer: "id", envelope: [new Uint8Array(0)] },
    frames: [meta],
  });
  expect(openEnvelope("id", [hop, empty, meta])).toEqual({
    requestor: { peer: "id", envelope: [hop, empty] },
    frames: [meta],
  });
});

test("an envelope of more bytes than can be kept with every job is refused, and the peer itself can be answered", () => {
  const empty = Buffer.alloc(0);
  expect(openEnvelope("id", [Buffer.alloc(envelopeBytesMax - 2), empty]).error).toBeUndefined();
  const opened = openEnvelope("id", [Buffer.alloc(envelopeBytesMax - 1), empty, Buffer.from("{}")]);
  expect(opened.error?.code).toBe("TOO_LARGE");
  expect(opened.requestor.envelope.map((frame) => frame.length)).toEqual([0]);
});

test("a message without the delimiter is an error, and can be answered", () => {
  const opened = openEnvelope("id", [Buffer.from("{}")]);
  expect(opened.error?.message).toContain("delimiter");
  expect(opened.requestor).toEqual({ peer: "id", envelope: [new Uint8Array(0)] });
});

test("a type that is no text is refused, even one that cannot be made to text", () => {
  for (const type of ["7", "null", '{"toString":1,"valueOf":1}', '[{"toString":1}]']) {
    expect(decodeFromWorker([Buffer.from(`{"type":${type}}`)])).toMatchObject({ code: "BAD_FRAME" });
  }
});
