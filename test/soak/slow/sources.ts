/** Sources that end or hang their process: it is followed by another, and the engine goes on. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { connect } from "task-engine";
import { startEngine } from "../../support/engine.ts";
import { tempFolder } from "../../support/temp-folder.ts";

setDefaultTimeout(120_000);

const tasks = `
  import { existsSync } from "node:fs";
  const isThere = (name) => existsSync(import.meta.dir + "/" + name);
  export const source_spin = {
    everyMs: 50,
    topic: "spin",
    run: () => {
      while (isThere("hang")) Bun.sleepSync(1000);
      return process.pid;
    },
  };
  export const source_stray = {
    everyMs: 50,
    topic: "stray",
    run: () => {
      if (isThere("stray")) setTimeout(() => { throw new Error("nobody catches it"); }, 1);
    },
  };
`;

test("a source worker that is stuck is killed, and one that an error ends is started again, by its name", async () => {
  using folder = tempFolder({ "tasks/a.ts": tasks });
  await using engine = await startEngine({ cwd: folder.path, flags: ["--restarts-max", "0"] });
  await using client = connect(engine.endpoint);
  const nextPid = async (than = 0): Promise<number> => {
    await using subscription = client.subscribe("spin");
    for await (const { data } of subscription) if (data !== than) return Number(data);
    throw new Error("the subscription has ended");
  };
  const first = await nextPid();
  writeFileSync(folder.at("tasks/hang"), "");
  await engine.line(/source worker is killed: it has not answered in 6000 ms$/);
  rmSync(folder.at("tasks/hang"));
  const second = await nextPid(first);

  writeFileSync(folder.at("tasks/stray"), "");
  const stray = "An error that the source stray has left behind, stopping for a clean start: Error: nobody catches it";
  await engine.line(new RegExp(`^\\[WORKER-${second}\\(SOURCE\\)\\] ${stray}$`));
  await engine.line(new RegExp(`^Process \\[${second}\\]: source worker ended with exit code 70; starting another in`));
  rmSync(folder.at("tasks/stray"));
  expect(await nextPid(second)).toBeGreaterThan(0);
  expect(await client.call("count", [2, 3])).toBe(5);
});
