/** The dead man, with real processes that are held up. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { connect } from "../../src/client/client.ts";
import { startEngine } from "../support/engine.ts";
import { tempFolder } from "../support/temp-folder.ts";

setDefaultTimeout(60_000); // many processes on a busy machine

const tasks = `
export const task_wait = async ([ms], kwargs, { signal }) => {
  for (const endMs = performance.now() + ms; performance.now() < endMs; await Bun.sleep(5)) signal.throwIfAborted();
  return "done";
};
`;

test("a router that was held up itself does not take for dead who has gone on saying that it is there", async () => {
  using folder = tempFolder({ "tasks/wait.ts": tasks });
  await using engine = await startEngine({ cwd: folder.path });
  await using client = connect(engine.endpoint);
  const [router = 0] = engine.pidsOf("router");
  const waiting = client.call("wait", [2_500], {}, { deadmanMs: 500 });
  waiting.catch(() => undefined);
  for (let time = 0; time < 2; time++) {
    await Bun.sleep(300);
    process.kill(router, "SIGSTOP");
    await Bun.sleep(700);
    process.kill(router, "SIGCONT");
  }
  expect(await waiting).toBe("done");
});
