import { writeFileSync } from "node:fs";
import type { TaskDefinition } from "task-engine";

const turn = (speed: number): void => writeFileSync(process.env.MOTOR ?? "motor", `${speed}`);

export const task_drive: TaskDefinition<[seconds: number, speed?: number]> = {
  resources: ["motors"], // of all tasks that name them, one job at a time
  deadmanMs: 300, // ends as DEADMAN once its requestor was quiet for so long, or is gone
  run: async ([seconds, speed = 1], _kwargs, { signal }) => {
    if (!Number.isFinite(seconds)) throw new TypeError("how many seconds must be a number");
    const endMs = performance.now() + seconds * 1000;
    while (performance.now() < endMs) {
      signal.throwIfAborted();
      turn(speed);
      await Bun.sleep(10);
    }
    turn(0);
    return "there";
  },
  onStop: () => turn(0), // run whenever a job ends other than by itself; if its process is dead, in another
};

export const task_spin: TaskDefinition = {
  resources: ["motors"],
  deadmanMs: 300,
  timeoutMs: 1000,
  run: () => {
    for (;;) turn(1); // hears no signal: its process is killed
  },
  onStop: () => turn(0),
};
