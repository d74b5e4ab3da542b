/** A disk whose fsync takes 200 ms holds up durable jobs alone: neither other jobs nor an emergency stop wait for it. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import { connect } from "../../../src/client/client.ts";
import { oneWorker, startEngine } from "../../support/engine.ts";
import { powerCuts } from "../../support/power-cut.ts";
import { tempFolder } from "../../support/temp-folder.ts";

setDefaultTimeout(300_000);

const fsyncMs = 200;
const stops = 5;

const robot = `
  import { appendFileSync } from "node:fs";
  export const task_upload = { durable: true, moves: false, run: () => null };
  export const task_hold = (args, _kwargs, { signal }) =>
    new Promise((resolve) => {
      appendFileSync(args[0], "holds\\n");
      signal.addEventListener("abort", () => {
        appendFileSync(args[0], Date.now() + "\\n");
        resolve(null);
      });
    });
`;

const median = (values: readonly number[]): number =>
  values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)] ?? Number.NaN;

test("while a disk syncs slowly, other jobs and emergency stops are as quick as ever", async () => {
  using power = powerCuts(fsyncMs);
  using folder = tempFolder({ "tasks/robot.ts": robot, notes: "" });
  const notes = (): string[] => readFileSync(folder.at("notes"), "utf8").split("\n").slice(0, -1);
  await using engine = await startEngine({ cwd: folder.path, flags: oneWorker, command: power.command });
  await using client = connect(engine.endpoint, { waitMs: 60_000 });
  const uploads: number[] = [];
  let isOver = false;
  const load = async (): Promise<void> => {
    while (!isOver) {
      const from = performance.now();
      await client.call("upload", [], {}, { detach: true });
      uploads.push(performance.now() - from);
    }
  };
  let loads = Array.from({ length: 4 }, load);

  const calls: number[] = [];
  while (uploads.length < 20) {
    const from = performance.now();
    await client.call("count", [2, 3]);
    calls.push(performance.now() - from);
  }
  isOver = true;
  await Promise.all(loads);
  // Each acceptance waits for one fsync, so the disk was as slow as it should be.
  expect(Math.min(...uploads)).toBeGreaterThanOrEqual(fsyncMs);
  expect(median(calls)).toBeLessThan(median(uploads) / 4);

  const stopped: number[] = [];
  for (let stop = 0; stop < stops; stop++) {
    isOver = false;
    loads = Array.from({ length: 4 }, () => load().catch(() => undefined));
    const held = client.call("hold", [folder.at("notes")]).catch((error) => error);
    while (notes().length < 2 * stop + 1) await Bun.sleep(5);
    const from = Date.now();
    await client.estop("a test");
    expect(await held).toMatchObject({ code: "STOPPED" });
    while (notes().length < 2 * stop + 2) await Bun.sleep(5);
    stopped.push(Number(notes().at(-1)) - from);
    isOver = true;
    await Promise.all(loads);
    await client.reset();
  }
  expect(median(stopped)).toBeLessThan(median(uploads) / 4);
  process.stdout.write(
    `upload ${median(uploads).toFixed(0)} ms, count ${median(calls).toFixed(1)} ms, abort ${median(stopped).toFixed(0)} ms\n`,
  );
});
