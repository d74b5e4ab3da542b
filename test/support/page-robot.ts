/** A robot with a gateway, for tests of the page: an engine with tasks that show themselves, and its motor. */
import { writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { type RunningCommand, startCommand } from "./command.ts";
import { type Engine, startEngine } from "./engine.ts";
import { Motor } from "./motor.ts";
import { freePorts } from "./ports.ts";
import { type TempFolder, tempFolder } from "./temp-folder.ts";

const tasks = `
import { writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
const turn = (speed) => writeFileSync(process.env.MOTOR, String(speed));
const schema = (input) => ({ "~standard": { version: 1, vendor: "test", validate: (value) => ({ value }), jsonSchema: { input: () => input } } });

/** Turns until something ends it. */
export const task_drive = {
  resources: ["motors"],
  run: async ([forward = 0], _, { signal }) => {
    for (;;) {
      signal.throwIfAborted();
      turn(Math.abs(forward));
      await sleep(10, null, { signal });
    }
  },
  onStop: () => turn(0),
};
/** Runs until it is cancelled or stopped. */
export const task_hold = { resources: ["arm"], run: (_args, _kwargs, { signal }) => sleep(600_000, "free", { signal }) };
export const task_add = {
  args: schema({ type: "array", prefixItems: [{ type: "number", title: "first" }, { type: "integer", title: "second", maximum: 10 }], minItems: 2 }),
  kwargs: schema({ type: "object", properties: { unit: { enum: ["m", "mm"] } } }),
  run: ([first, second], { unit = "m" }) => first + second + " " + unit,
};
export const task_fail = () => { throw new Error("<b id=evil>flat battery</b>"); };
export const task_climb = async (_args, _kwargs, { progress, signal }) => {
  for (let step = 0; ; step = (step + 1) % 100) {
    progress(step / 100);
    await sleep(50, null, { signal });
  }
};
let angle = 0;
export const source_angle = { everyMs: 50, topic: "arm/angle", run: () => Math.sin(angle++ / 10) };
export const source_pose = { everyMs: 100, topic: "arm/pose", run: () => ({ x: 1, note: "<b id=evil>bold</b>" }) };
`;

/** ports of an engine: frontend, backend, two task workers and a data worker */
const enginePorts = 5;

export class PageRobot implements AsyncDisposable {
  readonly motor: Motor;
  readonly #folder: TempFolder;
  readonly #first = freePorts(enginePorts);
  readonly #httpPort = freePorts(1);
  #engine: Engine | null = null;
  #gateway: RunningCommand | null = null;

  static async start(): Promise<PageRobot> {
    const robot = new PageRobot();
    await robot.startEngine();
    await robot.startGateway();
    return robot;
  }

  private constructor() {
    this.#folder = tempFolder({ "tasks/tasks.js": tasks, motor: "0" });
    this.motor = new Motor(this.#folder.at("motor"));
    writeFileSync(this.#folder.at("task-engine.toml"), `[env]\nMOTOR = "${this.motor.path}"\n`);
  }

  /** Of the gateway. */
  get url(): string {
    return `http://127.0.0.1:${this.#httpPort}`;
  }

  get httpPort(): number {
    return this.#httpPort;
  }

  get engine(): Engine {
    if (this.#engine === null) throw new Error("there is no engine");
    return this.#engine;
  }

  async startEngine(): Promise<void> {
    this.#engine = await startEngine({
      cwd: this.#folder.path,
      state: this.#folder.at("state"),
      first: this.#first,
      flags: ["--task-workers", "2", "--data-workers", "1"],
    });
  }

  async stopEngine(): Promise<void> {
    await this.#engine?.[Symbol.asyncDispose]();
    this.#engine = null;
  }

  async startGateway(): Promise<void> {
    const args = ["gateway", "--router", `tcp://127.0.0.1:${this.#first}`, "--http", `${this.#httpPort}`];
    this.#gateway = startCommand(args, { env: { ...this.#env, TASK_ENGINE_STATE: this.#folder.at("state") } });
    await this.#gateway.shown(/serves the engine/);
  }

  async killGateway(): Promise<void> {
    await this.#gateway?.[Symbol.asyncDispose]();
    this.#gateway = null;
  }

  /** A request that a program makes. */
  ask(path: string, init: RequestInit = {}): Promise<Response> {
    return fetch(`${this.url}${path}`, init);
  }

  /** Runs a task; the answer is there when it has ended. */
  call(task: string, args: readonly unknown[] = []): Promise<Response> {
    const headers = { "content-type": "application/json" };
    return this.ask(`/api/tasks/${task}`, { method: "POST", headers, body: JSON.stringify({ args }) });
  }

  async reset(): Promise<void> {
    const headers = { "content-type": "application/json" };
    await this.ask("/api/reset", { method: "POST", headers, body: "{}" });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    using _ = this.#folder;
    await this.killGateway();
    await this.stopEngine();
  }

  get #env(): Record<string, string> {
    return { PATH: process.env.PATH ?? "", HOME: process.env.HOME ?? homedir() };
  }
}
