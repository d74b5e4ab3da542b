/** PROTOCOL.md says what the source does: its examples are decoded, its tables compared. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { statusSchema } from "../../src/client/control.ts";
import * as limits from "../../src/limits.ts";
import {
  decodeFromRouter,
  decodeFromWorker,
  type RouterHeader,
  type WorkerHeader,
} from "../../src/protocol/backend.ts";
import { errorCodes, ProtocolError } from "../../src/protocol/errors.ts";
import { decodeMeta } from "../../src/protocol/frames.ts";
import { parseJson } from "../../src/protocol/json.ts";
import { laterOptions, optionsSchema } from "../../src/protocol/policy.ts";
import { decodeReply } from "../../src/protocol/replies.ts";
import { decodeRequest } from "../../src/protocol/requests.ts";
import { Access, rights } from "../../src/security/access.ts";

const page = readFileSync(join(import.meta.dir, "../../src/protocol/PROTOCOL.md"), "utf8");

/** Messages in the page that are marked so, a frame a line. */
const examples = (mark: string): string[][] =>
  [...page.matchAll(new RegExp(`^\`\`\`${mark}\n([^\`]+(?:\`[^\`]+)*?)\n\`\`\`$`, "gm"))].map(([, text = ""]) =>
    text.split("\n"),
  );
const framesOf = (lines: readonly string[]): Buffer[] => lines.map((line) => Buffer.from(line));

/** The rows of the section's tables whose first cell is a word in code: that word and the other cells. */
const rows = (section: string): [word: string, ...cells: string[]][] => {
  const [, text = ""] = new RegExp(`^#+ ${section}\n([\\s\\S]*?)(?=^#+ |$(?![\\s\\S]))`, "m").exec(page) ?? [];
  return [...text.matchAll(/^\| `(\w+)` +\| (.*) \|$/gm)].map(([, word = "", rest = ""]) => [
    word,
    ...rest.split("|").map((cell) => cell.trim()),
  ]);
};

/** Every type of the backend; the compiler sees to it that none is missing. */
const backendTypes: Readonly<Record<WorkerHeader["type"] | RouterHeader["type"], true>> = {
  ...{ READY: true, BEAT: true, DONE: true, FAIL: true, PROGRESS: true, PUBLISH: true, RETURN: true, LEAVE: true },
  ...{ WELCOME: true, WHO: true, REFUSED: true, JOBS: true, ABORT: true, PUT: true, GET: true, GOODBYE: true },
  ...{ WATCHED: true, HEARD: true, EVENTS: true, OWNERS: true, STALENESS: true },
  ...{ APPEND: true, COMMITTED: true, RECOVER: true, RECOVERED: true, JOURNAL: true },
  ...{ SAFING: true, SAFE: true, STOPPED: true, SOURCES: true, STORE: true, LOG: true, LOGS: true, LOGGED: true },
};

describe("the examples of", () => {
  test("requests are understood, and every kind is shown", () => {
    const requests = examples("request").map((lines) => ({ lines, request: decodeRequest(framesOf(lines)) }));
    for (const { lines, request } of requests) {
      expect({ lines, error: request.kind === "bad" ? request.error : null }).toEqual({ lines, error: null });
    }
    expect(new Set(requests.map(({ request }) => request.kind))).toEqual(
      new Set(["ping", "task", "data", "cancel", "keepAlive", "control"]),
    );
    const commands = requests.flatMap(({ request }) => (request.kind === "control" ? [request.control.command] : []));
    expect(commands.sort()).toEqual(["cancel", "estop", "get", "reset", "tasks"]);
    expect(requests.some(({ request }) => request.kind === "task" && request.parts.length > 1)).toBe(true);
  });

  test("replies are understood, and every kind is shown", () => {
    const replies = examples("reply").map((lines) => decodeReply(framesOf(lines)));
    for (const reply of replies) expect(reply).not.toBeInstanceOf(ProtocolError);
    expect(new Set(replies.map((reply) => (reply instanceof ProtocolError ? "" : reply.kind)))).toEqual(
      new Set(["ack", "batch", "progress", "keepAlive", "error"]),
    );
    const [status] = replies.flatMap((reply) =>
      !(reply instanceof ProtocolError) && reply.kind === "ack" && v.is(statusSchema(), reply.data) ? [reply] : [],
    );
    expect(status).toBeDefined();
    for (const reply of replies) {
      if (!(reply instanceof ProtocolError) && reply.kind === "error")
        expect(errorCodes).toHaveProperty(reply.error.code);
    }
  });

  test("publications are a topic, META and DATA", () => {
    const publications = examples("publication");
    expect(publications).toHaveLength(4);
    for (const [topic, meta = "", data = ""] of publications) {
      const { type } = JSON.parse(meta);
      expect(decodeMeta(Buffer.from(meta))).toMatchObject({ id: topic, type });
      expect(["DATA", "ERR"]).toContain(type);
      expect(parseJson(Buffer.from(data))).toHaveProperty("data");
    }
  });

  test("the backend are understood, and each type is shown and in the tables", () => {
    const fromWorkers = examples("to-router").map((lines) => decodeFromWorker(framesOf(lines)));
    const fromRouter = examples("to-worker").map((lines) => decodeFromRouter(framesOf(lines)));
    const types = [...fromWorkers, ...fromRouter].map((message) => {
      if (message instanceof ProtocolError) throw new Error(message.message);
      return message.header.type;
    });
    expect([...new Set<string>(types)].sort()).toEqual(Object.keys(backendTypes).sort());
    expect(rows("Workers").map(([word]) => word)).toEqual([
      ...["READY", "BEAT", "DONE", "FAIL", "SAFING", "PROGRESS", "PUBLISH", "RETURN", "LEAVE"],
      ...["WELCOME", "WHO", "REFUSED", "BEAT", "JOBS", "ABORT", "SAFE", "PUT", "GET", "GOODBYE"],
    ]);
  });
});

test("the error codes are those of the source, in their order and words", () => {
  expect(rows("Error codes").map(([code, meaning]) => [code, meaning])).toEqual(Object.entries(errorCodes));
});

test("the limits have the numbers of the source", () => {
  const listed = rows("Limits");
  expect(listed.length).toBeGreaterThan(25);
  const numbers: Readonly<Record<string, unknown>> = limits;
  for (const [name, number] of listed)
    expect({ name, number: Number(number) as unknown }).toEqual({ name, number: numbers[name] });
});

test("the options of a TASK are those of the source", () => {
  const isLater = (key: string): boolean => (laterOptions as readonly string[]).includes(key);
  const keys = Object.keys(optionsSchema().entries);
  expect(rows("Limits of a job").map(([key]) => key)).toEqual(keys.filter((key) => !isLater(key)));
  expect(rows("New options").map(([key]) => key)).toEqual(keys.filter(isLater));
  expect(page).toContain(`whole number, 0 to ${limits.priorityMax}; default ${limits.priorityDefault}`);
  expect(page).toContain(`1 to ${limits.durationMsMax}`);
  expect(page).toContain(`${limits.deadmanMsMin} to ${limits.durationMsMax}`);
  expect(page).toContain(`\`reason\` of up to ${limits.stopReasonLengthMax} characters`);
});

test("the rights, and the file that the page shows, are as the source takes them", () => {
  expect(rows("Security").map(([right]) => right)).toEqual([...rights]);
  const [, file = ""] = /^```\n(# key[^`]*)\n```$/m.exec(page) ?? [];
  const access = Access.parse(file);
  if (typeof access === "string") throw new Error(access);
  expect(access.missing("laptop", "send", "drive")).toBeNull();
  expect(access.missing("arm", "worker", "see")).toBe("worker:see");
  for (const [right, list] of rows("Security")) {
    const word = list?.replaceAll("`", "") || right;
    expect(Access.parse(`${"k".padEnd(40, "k")} x ${word}`) instanceof Access ? right : word).toBe(right);
  }
  expect(page).toContain(`${limits.jobsPerClientMax} jobs and ${limits.bytesPerClientMax / 1024 ** 2} MiB`);
  expect(page).toContain(`within ${limits.handshakeMs / 1000} s is closed`);
});
