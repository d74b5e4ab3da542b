/**
 * Kills routers and workers under the load of clients on the same machine, and counts: every call has one outcome, what was answered has
 * run, and nothing has run twice. Not a part of `bun test`: `bun test ./test/soak/routers.ts` runs it, and the gate does. KILLS=30 kills more.
 */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { type Client, connect, TaskEngineError } from "task-engine";
import { startEngine } from "../support/engine.ts";
import { tempFolder } from "../support/temp-folder.ts";

const kills = Number(process.env.KILLS ?? 6);
const calmMs = 2_500;
const callsInFlight = 32;

const tasks = `
  import { appendFileSync } from "node:fs";
  export const task_mark = ([uid]) => (appendFileSync(import.meta.dir + "/runs", uid + "\\n"), uid);
`;

/** How often each of them has run. */
const countRuns = (path: string): Map<number, number> => {
  const runs = new Map<number, number>();
  for (const line of readFileSync(path, "utf8").trim().split("\n"))
    runs.set(Number(line), (runs.get(Number(line)) ?? 0) + 1);
  return runs;
};

test(
  `${kills} routers and workers killed under the load of clients on the same machine lose no call, and let no job run twice`,
  async () => {
    using folder = tempFolder({ "tasks/mark.ts": tasks, "tasks/runs": "" });
    await using engine = await startEngine({ cwd: folder.path, flags: ["--restarts-max", "1000"] });
    const clients = Array.from({ length: 3 }, () => connect(engine.endpoint));
    const answered = new Set<number>();
    let asked = 0;
    let interrupted = 0;
    let isOver = false;
    const askOn = async (client: Client): Promise<void> => {
      while (!isOver) {
        const uid = ++asked;
        try {
          expect(await client.call("mark", [uid])).toBe(uid);
          answered.add(uid);
        } catch (error) {
          if (!(error instanceof TaskEngineError) || error.code !== "INTERRUPTED") throw error;
          interrupted++;
        }
      }
    };
    const asking = clients.flatMap((client) => Array.from({ length: callsInFlight }, () => askOn(client)));
    for (let count = 1; count <= kills; count++) {
      await Bun.sleep(calmMs);
      const [pid] = engine.pidsOf(count % 3 === 0 ? "task worker" : "router");
      if (pid !== undefined) process.kill(pid, "SIGKILL");
    }
    await Bun.sleep(calmMs);
    isOver = true;
    await Promise.all(asking);
    const runs = countRuns(folder.at("tasks/runs"));
    expect(answered.size + interrupted).toBe(asked);
    expect(interrupted).toBeGreaterThan(0);
    expect([...answered].filter((uid) => !runs.has(uid))).toEqual([]);
    expect([...runs].filter(([, count]) => count > 1)).toEqual([]);
    for (const client of clients) {
      expect(client.dropped).toEqual({ unknown: 0, malformed: 0 });
      await client.close();
    }
  },
  (kills + 1) * calmMs + 120_000,
);
