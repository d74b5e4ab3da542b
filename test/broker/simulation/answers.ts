/** The answers of a simulated worker: gathered into messages, and now and then sent twice, or with garbage behind them. */
import { messageJobsMax } from "../../../src/limits.ts";
import type { Frame } from "../../../src/protocol/frame.ts";
import type { Link } from "./link.ts";
import type { World } from "./world.ts";

export class Answers {
  #gathered: { type: "DONE" | "FAIL"; jobs: number[]; ms: number[]; unsafe: number[]; bodies: Frame[] } | null = null;

  constructor(
    private readonly world: World,
    private readonly link: () => Link,
  ) {}

  add(type: "DONE" | "FAIL", job: number, ms: number, body: Frame, isUnsafe = false): void {
    if (this.#gathered?.type !== type || this.#gathered.jobs.length >= messageJobsMax) this.flush();
    this.#gathered ??= { type, jobs: [], ms: [], unsafe: [], bodies: [] };
    this.#gathered.jobs.push(job);
    this.#gathered.ms.push(ms);
    this.#gathered.bodies.push(body);
    if (isUnsafe) this.#gathered.unsafe.push(job);
    if (this.world.random.chance(0.5)) this.flush();
  }

  flush(): void {
    if (this.#gathered === null) return;
    const { bodies, unsafe, ...answer } = this.#gathered;
    this.#gathered = null;
    const header = unsafe.length === 0 ? answer : { ...answer, unsafe };
    const link = this.link();
    link.send(header, bodies);
    const { random, weather } = this.world;
    if (random.chance(weather.duplicates)) link.send(header, bodies);
    if (random.chance(weather.garbage)) link.sendFrames(this.world.garbage(answer.jobs));
  }
}
