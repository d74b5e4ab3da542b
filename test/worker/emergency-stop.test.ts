import { expect, test } from "bun:test";
import type { RegisteredTask } from "../../src/tasks/task.ts";
import { EmergencyStop } from "../../src/worker/emergency-stop.ts";

const task: RegisteredTask = {
  name: "drive",
  file: "drive.ts",
  run: () => null,
  check: null,
  onStop: null,
  policy: {},
};

test("it is stopped while the supervisor or the router says so, and neither ends the other's stop", () => {
  const emergency = new EmergencyStop();
  const stopped = { reason: "smoke", since: 1 };
  emergency.byRouter = stopped;
  emergency.bySupervisor = null;
  expect(emergency.refusal(task)).toContain("(smoke)");
  emergency.bySupervisor = stopped;
  emergency.byRouter = null;
  expect(emergency.refusal(task)).toContain("(smoke)");
  emergency.bySupervisor = null;
  expect(emergency.refusal(task)).toBeNull();
});

test("a time that is none keeps no worker from being stopped", () => {
  const emergency = new EmergencyStop();
  emergency.bySupervisor = { reason: "smoke", since: Number.MAX_VALUE };
  expect(emergency.refusal(task)).toContain("in emergency stop since a time that is not known (smoke)");
});
