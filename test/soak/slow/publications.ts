/** What a task publishes arrives, or is missed where somebody looks. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { connect } from "task-engine";
import { topicsMax } from "../../../src/limits.ts";
import { startEngine } from "../../support/engine.ts";
import { tempFolder } from "../../support/temp-folder.ts";

setDefaultTimeout(30_000); // many processes on a busy machine

const tasks = `
  export const task_burst = ([topics, times], _kwargs, { publish }) => {
    let lost = 0;
    for (let time = 1; time <= times; time++) {
      for (let topic = 0; topic < topics; topic++) if (publish("t" + topic, time) === false) lost++;
    }
    return lost;
  };
`;

test("one topic too many is said with its task, and counted; whoever puts it is told", async () => {
  using folder = tempFolder({ "tasks/robot.ts": tasks });
  await using engine = await startEngine({ cwd: folder.path, flags: ["--task-workers", "1"] });
  await using client = connect(engine.endpoint);
  expect(await client.call("burst", [topicsMax + 10, 1])).toBe(0);
  const line = await engine.line(/Lost a publication/);
  const lost = `to topic "t${topicsMax}": there are ${topicsMax} topics already; further ones are only counted`;
  expect(line).toContain(" Lost a publication of task burst of worker TASK-");
  expect(line).toEndWith(` ${lost}`);
  const dropped = async (): Promise<unknown> => (await client.status()).jobs.dropped;
  for (let tries = 0; tries < 200 && !JSON.stringify(await dropped()).includes(":10"); tries++) await Bun.sleep(10);
  expect(await dropped()).toEqual({ publicationRefused: 10 });
  const put = await engine.run("data", "put", "one.more", "1", "--router", engine.endpoint);
  expect(put).toEqual({
    exitCode: 1,
    stdout: "",
    stderr: `task-engine: QUEUE_FULL: there are ${topicsMax} topics already\n`,
  });
});

test("after a burst each topic has its last value", async () => {
  using folder = tempFolder({ "tasks/robot.ts": tasks });
  await using engine = await startEngine({ cwd: folder.path, flags: ["--task-workers", "1"] });
  await using client = connect(engine.endpoint);
  const times = 10_000;
  expect(await client.call("burst", [3, times])).toBe(0);
  for (const topic of ["t0", "t1", "t2"]) {
    let last: unknown;
    for (let tries = 0; tries < 1_000 && last !== times; tries++) {
      last = (await client.get(topic).catch(() => null))?.data;
      await Bun.sleep(5);
    }
    expect(last).toBe(times);
  }
});
