import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const read = (path: string): string => readFileSync(join(import.meta.dir, "../../src", path), "utf8");

test("state.ts and PROTOCOL.md show the same diagram of a job's states", () => {
  const specified = /```states\n([\s\S]*?)\n```/.exec(read("protocol/PROTOCOL.md"))?.[1];
  const commented = specified?.replaceAll(/^/gm, " *     ");
  expect(specified).toStartWith("accepted");
  expect(read("broker/state.ts")).toContain(`${commented}\n *\n`);
});
