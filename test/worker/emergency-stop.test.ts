import { expect, test } from "bun:test";
import { EmergencyStop } from "../../src/worker/emergency-stop.ts";
import type { RegisteredTask } from "../../src/worker/task.ts";

const task: RegisteredTask = {
  name: "drive",
  file: "drive.ts",
  run: () => null,
  check: null,
  onStop: null,
  policy: {},
};

test("a time that is none keeps no worker from being stopped", () => {
  const emergency = new EmergencyStop();
  emergency.stopped = { reason: "smoke", since: Number.MAX_VALUE };
  expect(emergency.refusal(task)).toContain("in emergency stop since a time that is not known (smoke)");
});
