/** Processes of the engine that are not dead, only halted: nobody is in charge of what they were doing, and that must not go on. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { connect } from "task-engine";
import { startEngine } from "../../support/engine.ts";
import { until } from "../../support/stoppable.ts";
import { tempFolder } from "../../support/temp-folder.ts";

const tasks = `
  import { appendFileSync } from "node:fs";
  const note = (line) => appendFileSync(import.meta.dir + "/notes", line + "\\n");
  export const task_drive = (args, kwargs, { signal }) => new Promise((resolve) => {
    note("drives " + process.pid);
    signal.onabort = () => {
      note(signal.reason.code + ": " + signal.reason.message);
      resolve("stopped");
    };
  });
`;

const startDriving = async () => {
  const folder = tempFolder({ "tasks/drive.ts": tasks, "tasks/notes": "" });
  const engine = await startEngine({ cwd: folder.path });
  const client = connect(engine.endpoint);
  const notes = (): string[] => readFileSync(folder.at("tasks/notes"), "utf8").trim().split("\n");
  const ended = client.call("drive", []).then(
    () => "done",
    (error) => `${error.code}: ${error.message}`,
  );
  await until("it drives", () => notes()[0] !== "");
  return {
    engine,
    ended,
    notes,
    driver: Number(notes()[0]?.split(" ")[1]),
    [Symbol.asyncDispose]: async () => {
      await client.close();
      await engine[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    },
  };
};

test("a halted worker is killed and its job INTERRUPTED, and workers and clients of a halted router give it up", async () => {
  await using first = await startDriving();
  await using second = await startDriving();
  const [router = 0] = second.engine.pidsOf("router");
  process.kill(first.driver, "SIGSTOP");
  process.kill(router, "SIGSTOP");
  expect(await first.ended).toContain("INTERRUPTED");
  expect(first.engine.pidsOf("task worker")).not.toContain(first.driver);
  await until("its worker knows", () => second.notes().length === 2);
  expect(second.notes()[1]).toContain("INTERRUPTED: the connection to the router is lost");
  expect(await second.ended).toContain("INTERRUPTED: the connection to");
  process.kill(router, "SIGCONT");
}, 60_000);
