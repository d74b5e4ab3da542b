/** What a task publishes arrives, or is missed where somebody looks. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { connect } from "task-engine";
import { historyBytesMin } from "../../../src/limits.ts";
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

test("a topic for which there is no memory is said with its task, and counted; whoever puts it is told", async () => {
  using folder = tempFolder({ "tasks/robot.ts": tasks });
  const flags = ["--task-workers", "1", "--history-bytes", `${historyBytesMin}`];
  await using engine = await startEngine({ cwd: folder.path, flags });
  await using client = connect(engine.endpoint);
  expect(await client.call("burst", [1_100, 1])).toBe(0);
  const line = await engine.line(/Lost a publication/);
  const full = `the newest values of all topics take the ${historyBytesMin} bytes that there are for them`;
  expect(line).toContain(" Lost a publication of task burst of worker TASK-");
  expect(line).toEndWith(`: ${full}; further ones are only counted`);
  const dropped = async (): Promise<string> => JSON.stringify((await client.status()).jobs.dropped);
  for (let tries = 0; tries < 200 && !(await dropped()).includes("publicationRefused"); tries++) await Bun.sleep(10);
  expect(await dropped()).toContain("publicationRefused");
  const put = await engine.run("data", "put", "one.more", "1", "--router", engine.endpoint);
  expect(put).toEqual({ exitCode: 1, stdout: "", stderr: `task-engine: STORE_FULL: ${full}\n` });
  expect((await client.get("t0"))?.data).toBe(1);
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
