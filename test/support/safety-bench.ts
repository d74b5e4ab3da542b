/** A broker bench with tasks whose hardware has to be made safe. */
import { onStopTriesMax, retryBackoffMs } from "../../src/limits.ts";
import { BrokerBench } from "./broker-bench.ts";

export const drive = { name: "drive", onStop: true, resources: ["motors"] };
export const push = { name: "push", resources: ["motors"] };
export const blink = { name: "blink", onStop: true };
export const tasks = [drive, push, blink, "count"];

export class SafetyBench extends BrokerBench {
  /** A job of `task` is cut off by the death of its worker, w1; w2 is there. */
  cutOff(task = "drive"): void {
    this.ready("w1", tasks);
    this.ready("w2", tasks);
    this.ask("a", task);
    this.die("w1", this.jobsOf("w1").at(-1) ?? 0);
  }

  /** The `onStop` that a worker was told to run fails, as often as it is tried. */
  failAll(key: string): void {
    for (let count = 0; count < onStopTriesMax; count++) {
      this.made(key, "unsafe");
      this.pass(2 * retryBackoffMs);
    }
  }
}
