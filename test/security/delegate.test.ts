/** Requests for persons: META's `onBehalf`, and the right `delegate`. */
import { expect, test } from "bun:test";
import { encodeCommand, encodeTaskRequest } from "../../src/protocol/encode-request.ts";
import { decodeRequest } from "../../src/protocol/requests.ts";
import { Access } from "../../src/security/access.ts";
import { refusalOfRequest } from "../../src/security/rights.ts";

const keyOf = (name: string): string => name.padEnd(40, "k");
const access = Access.parse(
  [`${keyOf("g")} gateway delegate send:drive,count read`, `${keyOf("l")} laptop send`].join("\n"),
) as Access;

const taskFor = (name: string, rights: readonly string[], task: string) =>
  decodeRequest(encodeTaskRequest({ id: "G", serial: "s", onBehalf: { name, rights } }, task, [], {}));

test("a request for a person needs the rights of both, and the right to ask for others", () => {
  expect(refusalOfRequest(access, "gateway", taskFor("anna", ["send:drive"], "drive"))).toBeNull();
  expect(refusalOfRequest(access, "gateway", taskFor("anna", ["send:drive"], "count"))).toBe(
    "client anna lacks the right send:count",
  );
  expect(refusalOfRequest(access, "gateway", taskFor("anna", ["send"], "grip"))).toBe(
    "client gateway lacks the right send:grip",
  );
  expect(refusalOfRequest(access, "laptop", taskFor("anna", ["send"], "drive"))).toBe(
    "client laptop lacks the right delegate",
  );
  // An engine without keys knows nobody, and holds a person to what the gateway says.
  expect(refusalOfRequest(Access.nobody, null, taskFor("anna", ["send:drive"], "count"))).toContain("client anna");
});

test("rights that are none, and names that are none, are refused", () => {
  expect(refusalOfRequest(access, "gateway", taskFor("anna", ["fly"], "drive"))).toContain(
    "META.onBehalf: has the right",
  );
  expect(refusalOfRequest(access, "gateway", taskFor("(owner)", ["send"], "drive"))).toContain("no name of a person");
  for (const onBehalf of [
    { name: "anna" },
    { name: "", rights: ["send"] },
    { name: "a", rights: [] },
    { name: "a", rights: ["r".repeat(5_000)] },
    7,
  ]) {
    const meta = JSON.stringify({
      id: "G",
      role: "requestor",
      version: 0.3,
      type: "CONTROL",
      onBehalf,
      pack: 1,
      serial: "s",
    });
    expect(decodeRequest([meta, '{"data":{"command":"status"},"pack":1}'])).toMatchObject({
      kind: "bad",
      error: { code: "BAD_FRAME" },
    });
  }
});

test("META that is known already keeps its person, whoever asks in between", () => {
  for (let round = 0; round < 3; round++) {
    for (const name of ["anna", "bob", undefined]) {
      const onBehalf = name === undefined ? undefined : { name, rights: ["observe"] };
      const request = decodeRequest(encodeCommand({ id: "G", serial: `${round}`, onBehalf }, { command: "status" }));
      expect(request).toMatchObject({ kind: "control" });
      expect(request.kind === "control" ? request.meta.onBehalf : null).toEqual(onBehalf);
    }
  }
});
