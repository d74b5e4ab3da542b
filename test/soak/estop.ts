import { expect, test } from "bun:test";
import { monotonicMs } from "../support/clock.ts";
import { Stoppable, taskWorkers } from "../support/stoppable.ts";

const times = Number(process.env.TIMES ?? 10);

test("try", async () => {
  await using robot = await Stoppable.start();
  const res: Record<string, number[]> = { idle: [], load: [] , idleA: [], loadA: []};
  for (let time = 0; time < times; time++) {
    for (const isLoaded of [false, true]) {
      const running = await robot.busy("drive", "drive");
      const waiting = isLoaded ? await robot.load() : [];
      await Bun.sleep(Math.random() * 300);
      const sent = monotonicMs();
      await robot.client.estop("x");
      const ans = monotonicMs();
      const aborts = await robot.untilNoted("abort", taskWorkers);
      (isLoaded ? res.load : res.idle)?.push(Math.max(...aborts) - sent);
      (isLoaded ? res.loadA : res.idleA)?.push(ans - sent);
      expect(await robot.endings(running)).toEqual({ STOPPED: 2 });
      if (isLoaded) expect(await robot.endings(waiting)).toEqual({ STOPPED: 10000 });
      await robot.calm();
      expect(robot.noted("step")).toEqual([]);
      await robot.reset();
    }
  }
  for (const [k, v] of Object.entries(res)) { v.sort((a, b) => a - b); console.log(k, v[v.length >> 1], v.at(-1), v.map(x => x.toFixed(1)).join(" ")); }
}, 600000);
