/** A router that has not been running for a while: what has come meanwhile counts before the time that has passed. */
import { expect, test } from "bun:test";
import { connect } from "task-engine";
import { startEngine } from "../support/engine.ts";
import { tempFolder } from "../support/temp-folder.ts";

const tasks = `
  export const task_nap = ([ms]) => Bun.sleep(Number(ms));
`;

test("a router that was halted for longer than a dead man's time, and than a job's, takes what has come meanwhile for that it was in time", async () => {
  using folder = tempFolder({ "tasks/nap.ts": tasks });
  await using engine = await startEngine({ cwd: folder.path });
  await using client = connect(engine.endpoint);
  await client.call("nap", [1]);
  const guarded = client.call("nap", [4_000], {}, { deadmanMs: 800 });
  const limited = client.call("nap", [500], {}, { timeoutMs: 1_500 });
  await Bun.sleep(200);
  const [router = 0] = engine.pidsOf("router");
  process.kill(router, "SIGSTOP");
  await Bun.sleep(2_500);
  process.kill(router, "SIGCONT");
  expect(await limited).toBeNull();
  expect(await guarded).toBeNull();
}, 60_000);
