import { expect, test } from "bun:test";
import { failureLogsPerSecondMax } from "../../src/limits.ts";
import { FailureLog } from "../../src/worker/failure-log.ts";
import { captureOutput } from "../support/output.ts";

test("within a second only so many failures are written, and the rest is counted when the next one comes", () => {
  using output = captureOutput();
  const log = new FailureLog();
  let made = 0;
  const add = (nowMs: number, line: string): void =>
    log.add(nowMs, () => {
      made++;
      return [line, "  its stack"];
    });
  for (let index = 0; index < failureLogsPerSecondMax + 7; index++) add(100 + index, `failure ${index}`);
  expect(made).toBe(failureLogsPerSecondMax);
  add(1100, "after a second");
  const shown = Array.from({ length: failureLogsPerSecondMax }, (_, index) => `failure ${index}\n  its stack\n`);
  expect(output.stderr).toBe(`${shown.join("")}… and 7 more failures, not shown\nafter a second\n  its stack\n`);
});
