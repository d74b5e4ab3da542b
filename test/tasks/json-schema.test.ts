/** JSON Schemas of arguments: those that a task's own schemas can say, as far as they can travel. */
import { expect, test } from "bun:test";
import * as v from "valibot";
import { argumentSchemaBytesMax, argumentSchemasBytesMax } from "../../src/limits.ts";
import { decodeFromWorker, encodeBackend } from "../../src/protocol/backend.ts";
import { ProtocolError } from "../../src/protocol/errors.ts";
import type { Schema } from "../../src/tasks/arguments.ts";
import { parseDefinition } from "../../src/tasks/definition.ts";
import { argumentSchemaOf, listTasks } from "../../src/tasks/json-schema.ts";
import { registryOf } from "../support/executor.ts";
import { asReceived } from "../support/frames.ts";

/** A Standard Schema that says itself as JSON Schema: what `made` gives, for the options that it gets. */
const saying = (made: (options: { target: string }) => unknown): Schema => ({
  "~standard": { version: 1, validate: (value) => ({ value }), ...{ jsonSchema: { input: made } } },
});
const list = { type: "array", prefixItems: [{ type: "number" }, { type: "string" }] };

test("a task with schemas that can say it shows the JSON Schema of what it takes, by draft 2020-12", () => {
  const args = saying(({ target }) => ({ $schema: target, ...list }));
  const definition = parseDefinition({ run: () => null, args, kwargs: saying(() => ({ type: "object" })) });
  if (typeof definition === "string") throw new Error(definition);
  expect(definition.schema).toEqual({ args: { $schema: "draft-2020-12", ...list }, kwargs: { type: "object" } });
  expect(argumentSchemaOf({ args })).toEqual({ args: { $schema: "draft-2020-12", ...list } });
});

test("a schema that says none, or cannot, or not as JSON that travels, is left out, and the task is served all the same", () => {
  const deep = (depth: number): unknown => (depth === 0 ? {} : { items: deep(depth - 1) });
  const circle: Record<string, unknown> = {};
  circle.items = circle;
  const failing = saying(() => {
    throw new Error("a Date is no JSON");
  });
  const others = [null, "object", [], { maximum: 1n }, circle, deep(60), { properties: { constructor: {} } }];
  for (const args of [v.tuple([v.number()]), failing, ...others.map((made) => saying(() => made))]) {
    expect(argumentSchemaOf({ args })).toBeNull();
    expect(argumentSchemaOf({ args, kwargs: saying(() => ({})) })).toEqual({ kwargs: {} });
    expect(parseDefinition({ run: () => null, args })).toMatchObject({ schema: null });
  }
  expect(argumentSchemaOf({})).toBeNull();
});

test("a schema above its bound is left out, and of all schemas together those beyond theirs", () => {
  const long = (length: number) => argumentSchemaOf({ args: saying(() => ({ title: "x".repeat(length) })) });
  expect(long(argumentSchemaBytesMax)).toBeNull();
  const schema = long(argumentSchemaBytesMax - 100);
  expect(schema).not.toBeNull();
  const names = Array.from({ length: 40 }, (_, index) => `task${index}`);
  const tasks = listTasks(registryOf(Object.fromEntries(names.map((name) => [name, { schema }]))));
  expect(tasks.map(({ name }) => name)).toEqual(names);
  const bytes = JSON.stringify(tasks).length;
  expect([bytes < argumentSchemasBytesMax + 4096, bytes > argumentSchemasBytesMax - argumentSchemaBytesMax]).toEqual([
    true,
    true,
  ]);
  const ready = { type: "READY", role: "task", id: "TASK-1", pid: 1, tasks, endpoint: "" } as const;
  expect(decodeFromWorker(asReceived(encodeBackend({ ...ready, tasks: [...tasks] })))).not.toBeInstanceOf(
    ProtocolError,
  );
});

test("the router takes a READY whose schemas are objects within their bound, and names what is wrong in another", () => {
  const ready = (schema: unknown): unknown => {
    const tasks = [{ name: "drive", schema }];
    const text = JSON.stringify({ type: "READY", role: "task", id: "TASK-1", pid: 1, tasks, endpoint: "" });
    const message = decodeFromWorker(asReceived([text]));
    return message instanceof ProtocolError ? message.message : message.header;
  };
  expect(ready({ args: list })).toMatchObject({ tasks: [{ name: "drive", schema: { args: list } }] });
  for (const wrong of [1, { args: [] }, { other: {} }, { args: { title: "x".repeat(argumentSchemaBytesMax) } }]) {
    expect(ready(wrong)).toContain("HEADER.tasks.0");
  }
});
