/** A task of `on-stop` that does not end: the time that it has is long. */
import { expect, test } from "bun:test";
import { startRobot } from "../../support/noting-robot.ts";
import { stillAlive } from "../../support/proc.ts";

test("what should make the robot safe is killed where it hangs, and the router says that it may not be safe", async () => {
  await using robot = await startRobot("--task-workers", "1", "--on-stop", "hang");
  robot.engine.signal("SIGKILL");
  const hanging = await robot.noted(/^hangs/);
  await robot.engine.line(/The robot may not be safe: its safe stop ended by SIGKILL/);
  expect(await stillAlive([hanging, ...robot.engine.childPids])).toEqual([]);
}, 60_000);
