import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Access, engineUser, ownerUser, type Right, rights } from "../../src/security/access.ts";

const z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
const keyOf = (name: string): string => name.padEnd(40, "0").slice(0, 40);
const laptopKey = keyOf("laptop");

const parsed = (text: string): Access => {
  const access = Access.parse(text);
  if (typeof access === "string") throw new Error(access);
  return access;
};
const laptopWith = (rights: string): Access => parsed(`${laptopKey} laptop ${rights}`);

test("a key is known by the name on its line, and a stranger's by none", () => {
  const access = parsed(`# who may what\n#\n\n${laptopKey} laptop send\r\n\t${keyOf("#arm")}  arm\tread  \n`);
  expect(access.nameOf(laptopKey)).toBe("laptop");
  expect(access.nameOf(keyOf("#arm"))).toBe("arm");
  expect(access.nameOf(keyOf("stranger"))).toBeNull();
  expect(access.keyOf("laptop")).toBe(laptopKey);
  expect(access.keyOf("stranger")).toBeNull();
});

test("an empty file knows nobody", () => {
  expect(parsed("").knows("laptop")).toBe(false);
  expect(parsed("").missing("laptop", "send", "count")).toBe("send:count");
});

test("where nobody can be known, everybody may everything", () => {
  const access = parsed("");
  expect(access.knows(null)).toBe(true);
  expect(access.hasSome(null, "read")).toBe(true);
  for (const right of ["send", "read", "write", "control", "worker"] as const) {
    expect(access.missing(null, right)).toBeNull();
    expect(access.refusal(null, right, "x")).toBeNull();
  }
});

test("a right is held for all, for the tasks that are named, for the topics that begin so, or not at all", () => {
  const access = laptopWith("send:count,drive read:arm/,cam worker:see write");
  const cases: [Right, string | undefined, string | null][] = [
    ["send", "count", null],
    ["send", "drive", null],
    ["send", "counter", "send:counter"],
    ["send", undefined, "send"],
    ["read", "arm/left", null],
    ["read", "arm/", null],
    ["read", "arm", "read:arm"],
    ["read", "camera", null],
    ["read", "", "read"],
    ["write", "anything", null],
    ["write", undefined, null],
    ["worker", "see", null],
    ["worker", "seer", "worker:seer"],
    ["worker", undefined, "worker"],
    ["control", undefined, "control"],
  ];
  for (const [right, of, missing] of cases)
    expect([right, of, access.missing("laptop", right, of)]).toEqual([right, of, missing]);
  expect(access.hasSome("laptop", "read")).toBe(true);
  expect(access.hasSome("laptop", "control")).toBe(false);
});

test("the engine's own topics need `observe` or their own beginning: the right to read all leaves them out", () => {
  const asked = ["$engine/jobs", "$engine/", "$", "arm/left", ""];
  const cases: [held: string, missing: (string | null)[]][] = [
    ["read", ["read:$engine/jobs", "read:$engine/", "read:$", null, null]],
    ["read:arm/", ["read:$engine/jobs", "read:$engine/", "read:$", null, "read"]],
    ["read:$engine/", [null, null, "read:$", "read:arm/left", "read"]],
    ["read:$engine/jobs,arm/", [null, "read:$engine/", "read:$", null, "read"]],
    ["read read:$engine/", [null, null, "read:$", null, null]],
    ["observe", [null, null, null, "read:arm/left", "read"]],
    ["read observe", [null, null, null, null, null]],
    ["control", ["read:$engine/jobs", "read:$engine/", "read:$", "read:arm/left", "read"]],
    ["write", ["read:$engine/jobs", "read:$engine/", "read:$", "read:arm/left", "read"]],
  ];
  for (const [held, missing] of cases) {
    const access = laptopWith(held);
    expect([held, ...asked.map((of) => access.missing("laptop", "read", of))]).toEqual([held, ...missing]);
  }
});

test("who loses `observe`, or the beginning of the engine's topics, is revoked, also where all may be read", () => {
  const revoked = (before: string, after: string) => laptopWith(before).revokedIn(laptopWith(after));
  expect(revoked("read observe", "read")).toEqual(["laptop"]);
  expect(revoked("read:$engine/", "read")).toEqual(["laptop"]);
  expect(revoked("read:$engine/", "observe")).toEqual([]);
  expect(revoked("read", "read:$engine/")).toEqual(["laptop"]);
});

test("what is said twice adds up, and all is more than some", () => {
  const access = laptopWith("send:a send:b read read:arm/ write:arm/ write");
  expect(access.missing("laptop", "send", "a")).toBeNull();
  expect(access.missing("laptop", "send", "b")).toBeNull();
  expect(access.missing("laptop", "read")).toBeNull();
  expect(access.missing("laptop", "write")).toBeNull();
});

test("the refusal says who lacks what, and that a key was taken back", () => {
  const access = laptopWith("send:count");
  expect(access.refusal("laptop", "send", "count")).toBeNull();
  expect(access.refusal("laptop", "send", "drive")).toBe("client laptop lacks the right send:drive");
  expect(access.refusal("laptop", "control")).toBe("client laptop lacks the right control");
  expect(access.refusal("phone", "send", "count")).toBe("client phone is not authorized any more");
});

test("the engine's own workers may serve and publish all, and ask for nothing, whatever the file says", () => {
  const access = parsed(`${laptopKey} laptop send`);
  expect(access.missing(engineUser, "worker")).toBeNull();
  expect(access.missing(engineUser, "write", "arm")).toBeNull();
  expect(access.missing(engineUser, "send", "count")).toBe("send:count");
  expect(access.missing(engineUser, "read")).toBe("read");
  expect(access.missing(engineUser, "control")).toBe("control");
  expect(Access.parse(`${laptopKey} (engine) send`)).toContain("line 1: has no name");
});

test("the engine's owner may do everything, whatever the file says, and loses nothing by a change of it", () => {
  const access = parsed(`${laptopKey} laptop send`);
  for (const right of rights) expect(access.missing(ownerUser, right)).toBeNull();
  expect(access.missing(ownerUser, "read", "$engine/jobs")).toBeNull();
  expect(Access.nobody.knows(ownerUser)).toBe(true);
  expect(access.revokedIn(Access.nobody)).toEqual(["laptop"]);
  expect(Access.parse(`${laptopKey} (owner) send`)).toContain("line 1: has no name");
});

test("no key is theirs: they have a way of their own", () => {
  const access = parsed(`${laptopKey} laptop send`);
  for (const key of ["", engineUser, ownerUser]) expect(access.nameOf(key)).toBeNull();
});

describe("a wrong line is named", () => {
  const wrong: [text: string, complaint: string][] = [
    ["laptop send", "line 1: begins with no public key"],
    [`${laptopKey}0 laptop send`, "line 1: begins with no public key"],
    [`${laptopKey.slice(1)}' laptop send`, "line 1: begins with no public key"],
    [`#${laptopKey} laptop send`, "line 1: begins with no public key"],
    [`\n\n${laptopKey}`, "line 3: has no name after the key"],
    [`${laptopKey} -laptop send`, "line 1: has no name after the key"],
    [`${laptopKey} ${"n".repeat(129)} send`, "line 1: has no name after the key"],
    [`${laptopKey} lap\u001b[2J send`, "line 1: has no name after the key"],
    [`${laptopKey} laptop`, "line 1: gives laptop no right"],
    [`${laptopKey} laptop fly`, 'line 1: has the right "fly", which is not one of send, read, write, control, worker'],
    [`${laptopKey} laptop Send`, 'line 1: has the right "Send"'],
    [`${laptopKey} laptop send:`, 'line 1: has nothing between two marks in "send:"; for all write send alone'],
    [`${laptopKey} laptop send:a,,b`, "line 1: has nothing between two marks"],
    [`${laptopKey} laptop control:status`, "line 1: limits `control`"],
    [`${laptopKey} laptop observe:jobs`, "line 1: limits `observe`"],
    [`${laptopKey} laptop send:task_drive`, "line 1: names the task task_drive; write it without its prefix"],
    [`${laptopKey} laptop send\n${laptopKey} phone send`, "line 2: has the key of laptop again"],
    [`${laptopKey} laptop send\n${keyOf("phone")} laptop send`, "line 2: has the name laptop again"],
    ["# x".padEnd(300_000), "300000 characters, the limit is 262144"],
  ];
  for (const [text, complaint] of wrong) {
    test(JSON.stringify(text.slice(0, 80)), () => expect(Access.parse(text)).toStartWith(complaint));
  }
});

test("who has another key, less rights or no line any more is revoked, and nobody else", () => {
  const before = parsed(
    [
      `${keyOf("a")} a send:count,drive`,
      `${keyOf("b")} b read`,
      `${keyOf("c")} c write:arm/`,
      `${keyOf("d")} d control`,
      `${keyOf("e")} e send`,
      `${keyOf("f")} f read:arm/left`,
    ].join("\n"),
  );
  expect(before.revokedIn(before)).toEqual([]);
  const after = parsed(
    [
      `${keyOf("a")} a send:count`,
      `${keyOf("b")} b read:arm/`,
      `${keyOf("c")} c write`,
      `${keyOf("e2")} e send`,
      `${keyOf("f")} f read:arm/ send`,
    ].join("\n"),
  );
  expect(before.revokedIn(after)).toEqual(["a", "b", "d", "e"]);
  expect(before.revokedIn(parsed(""))).toEqual(["a", "b", "c", "d", "e", "f"]);
});

/* ── Whatever the file says ──────────────────────────────────────────────────────────────────────────────────────── */

const item = fc.string({ unit: fc.constantFrom("a", "b", "/", ":"), minLength: 1, maxLength: 4 });
const itemOrOwn = fc.oneof(item, fc.constantFrom("$", "$engine/", "$engine/jobs"));
const extent = fc.oneof(fc.constant("all" as const), fc.array(item, { minLength: 1, maxLength: 3 }));
const flag = fc.constant("all" as const);
const readExtent = fc.oneof(flag, fc.array(itemOrOwn, { minLength: 1, maxLength: 3 }));
const client = fc.record(
  {
    send: extent,
    read: readExtent,
    write: extent,
    worker: extent,
    control: flag,
    observe: flag,
    manage: flag,
    delegate: flag,
  },
  { requiredKeys: [] },
);
const need = fc.oneof(
  fc.record({
    right: fc.constantFrom<Right>("send", "read", "write", "worker"),
    of: fc.option(item, { nil: undefined }),
  }),
  fc.record({ right: fc.constant<Right>("read"), of: itemOrOwn }),
  fc.record({ right: fc.constantFrom<Right>("control", "observe", "manage", "delegate"), of: fc.constant(undefined) }),
);
const clients = fc.array(
  client.filter((held) => Object.keys(held).length > 0),
  { maxLength: 4 },
);

const write = (held: Partial<Record<string, "all" | string[]>>, index: number): string => {
  const words = Object.entries(held).map(([right, of]) => (of === "all" ? right : `${right}:${of?.join(",")}`));
  return `${keyOf(`k${index}`)} n${index} ${words.join(" ")}`;
};

test("nobody may more than the own line says, and nobody less", () => {
  fc.assert(
    fc.property(clients, need, (lines, { right, of }) => {
      const access = parsed(lines.map((held, index) => write(held, index)).join("\n"));
      for (const [index, held] of lines.entries()) {
        const extentOf = held[right];
        const matches = (named: string) =>
          right === "read" || right === "write" ? of?.startsWith(named) === true : of === named;
        const isOwn = right === "read" && of?.startsWith("$") === true;
        const hasAll = isOwn ? held.observe === "all" : extentOf === "all";
        const may = hasAll || (extentOf !== "all" && extentOf?.some(matches) === true);
        expect(access.missing(`n${index}`, right, of) === null).toBe(may);
        expect(access.nameOf(keyOf(`k${index}`))).toBe(`n${index}`);
      }
      expect(access.missing(`n${lines.length}`, right, of)).not.toBeNull();
    }),
  );
});

test("the right that is missing is the one that helps when it is written into the file", () => {
  fc.assert(
    fc.property(client, need, (held, { right, of }) => {
      const line = write({ ...held, control: "all" }, 0);
      const missing = parsed(line).missing("n0", right, of);
      if (missing !== null) expect(parsed(`${line} ${missing}`).missing("n0", right, of)).toBeNull();
    }),
  );
});

test("a user that is not revoked may all that it might before", () => {
  fc.assert(
    fc.property(client, client, need, (before, after, { right, of }) => {
      const [old, next] = [before, after].map((held) => parsed(write({ ...held, control: "all" }, 0)));
      if (old === undefined || next === undefined) throw new Error("there are two");
      if (old.revokedIn(next).length === 0 && old.missing("n0", right, of) === null) {
        expect(next.missing("n0", right, of)).toBeNull();
      }
    }),
  );
});

test("any text is understood as it is written or refused by its line, and never lets in a key that is not in it", () => {
  const word = fc.oneof(
    fc.string({ maxLength: 12 }),
    fc.constantFrom("send", "read:arm/", "laptop", "# ", "\n", "\r\n", " ", "\t", laptopKey),
    fc.string({ unit: fc.constantFrom(...z85), minLength: 40, maxLength: 40 }),
  );
  fc.assert(
    fc.property(
      fc.array(word, { maxLength: 12 }),
      fc.string({ unit: fc.constantFrom(...z85), minLength: 40, maxLength: 40 }),
      (words, key) => {
        const text = words.join(" ");
        const access = Access.parse(text);
        if (typeof access === "string") expect(access).toMatch(/^line \d+: /);
        else if (!text.includes(key)) expect(access.nameOf(key)).toBeNull();
      },
    ),
  );
});
