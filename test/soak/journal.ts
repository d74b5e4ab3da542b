/**
 * Kills engines as a whole under durable load, and cuts their power, again and again: no acknowledged job is lost, none runs twice, and
 * the journal can be read each time. `KILLS=1000 CUTS=200 npx bun test ./test/soak/journal.ts`; a short run without.
 */
import { Database } from "bun:sqlite";
import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { connect } from "../../src/client/client.ts";
import { oneWorker, startEngine } from "../support/engine.ts";
import { powerCuts } from "../support/power-cut.ts";
import { tempFolder } from "../support/temp-folder.ts";

setDefaultTimeout(24 * 3600 * 1000);

const kills = Number(process.env.KILLS ?? 20);
const cuts = Number(process.env.CUTS ?? 10);
const inFlight = 16;

const robot = `
  import { appendFileSync } from "node:fs";
  export const task_note = {
    durable: true,
    moves: false,
    run: async ([number, file]: [number, string]) => {
      appendFileSync(file, number + "\\n");
      await Bun.sleep(Math.random() * 4);
    },
  };
`;

/** @param power cut after each kill; null for kills alone */
const suite = async (kills: number, power: ReturnType<typeof powerCuts> | null): Promise<void> => {
  using folder = tempFolder({ "tasks/robot.ts": robot });
  using state = tempFolder();
  const file = folder.at("ran");
  const acknowledged = new Map<string, number>();
  let number = 0;
  let first: number | undefined;
  const start = () =>
    startEngine({
      cwd: folder.path,
      state: state.path,
      flags: oneWorker,
      isGroupLeader: true,
      ...(power !== null && { command: power.command }),
      ...(first !== undefined && { first }),
    });
  for (let kill = 0; kill < kills; kill++) {
    const engine = await start();
    first = engine.ports.frontend;
    const client = connect(engine.endpoint, { waitMs: 10_000 });
    let isOver = false;
    const load = async (): Promise<void> => {
      while (!isOver) {
        const mine = ++number;
        const job = await client.call("note", [mine, file], {}, { detach: true }).catch(() => null);
        if (job !== null) acknowledged.set(job.id, mine);
      }
    };
    const loads = Array.from({ length: inFlight }, load);
    await Bun.sleep(Math.random() * 400);
    isOver = true;
    for (const pid of [engine.pid, ...engine.childPids]) {
      try {
        process.kill(pid, "SIGKILL");
      } catch (failure) {
        if ((failure as NodeJS.ErrnoException).code !== "ESRCH") throw failure;
      }
    }
    await engine.ended();
    await client.close();
    await Promise.all(loads);
    await engine[Symbol.asyncDispose]();
    power?.cut(`${state.path}/${first}`);
  }
  await using engine = await start();
  await using client = connect(engine.endpoint, { waitMs: 10_000 });
  for (let left = 1; left > 0; await Bun.sleep(50)) {
    const { queue, journal } = await client.status();
    left = queue.jobs + (journal?.unfinished ?? 1);
  }
  await Bun.sleep(500);

  expect(readdirSync(`${state.path}/${first}`).filter((name) => name.includes("damaged"))).toEqual([]);
  const ran = existsSync(file) ? readFileSync(file, "utf8").trim().split("\n").map(Number) : [];
  expect(ran.length - new Set(ran).size).toBe(0);
  using database = new Database(`${state.path}/${first}/journal.db`, { readonly: true });
  const rows = database
    .query<{ job: string; state: string; code: string | null }, []>("SELECT job, state, code FROM jobs")
    .all();
  const states = new Map(rows.map(({ job, state }) => [job, state]));
  const lost = [...acknowledged.keys()].filter((job) => !states.has(job));
  expect(lost).toEqual([]);
  const open = rows.filter(({ job, state }) => acknowledged.has(job) && !["done", "interrupted"].includes(state));
  expect(open).toEqual([]);
  const isRun = new Set(ran);
  const undone = [...acknowledged].filter(([job, mine]) => states.get(job) === "done" && !isRun.has(mine));
  expect(undone).toEqual([]);
  const interrupted = [...acknowledged.keys()].filter((job) => states.get(job) === "interrupted").length;
  const figures = `${acknowledged.size} acknowledged, ${ran.length} ran, ${interrupted} interrupted`;
  process.stdout.write(`${figures}, over ${kills} kills\n`);
};

test(`${kills} engines are killed as a whole: 0 acknowledged jobs lost, 0 run twice`, () => suite(kills, null));

test(`the power of ${cuts} engines is cut: 0 acknowledged jobs lost, 0 run twice`, async () => {
  using power = powerCuts();
  await suite(cuts, power);
});
