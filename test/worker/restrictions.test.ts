import { expect, test } from "bun:test";
import type { RegisteredTask } from "../../src/tasks/task.ts";
import { Restrictions } from "../../src/worker/restrictions.ts";

const task: RegisteredTask = {
  name: "drive",
  file: "drive.ts",
  run: () => null,
  check: null,
  schema: null,
  onStop: null,
  policy: {},
};

test("it is stopped while the supervisor or the router says so, and neither ends the other's stop", () => {
  const restrictions = new Restrictions();
  const stopped = { reason: "smoke", since: 1 };
  restrictions.stoppedByRouter = stopped;
  restrictions.stoppedBySupervisor = null;
  expect(restrictions.stopRefusal(task)).toContain("(smoke)");
  restrictions.stoppedBySupervisor = stopped;
  restrictions.stoppedByRouter = null;
  expect(restrictions.stopRefusal(task)).toContain("(smoke)");
  restrictions.stoppedBySupervisor = null;
  expect(restrictions.stopRefusal(task)).toBeNull();
});

test("a time that is none keeps no worker from being stopped", () => {
  const restrictions = new Restrictions();
  restrictions.stoppedBySupervisor = { reason: "smoke", since: Number.MAX_VALUE };
  expect(restrictions.stopRefusal(task)).toContain("in emergency stop since a time that is not known (smoke)");
});
