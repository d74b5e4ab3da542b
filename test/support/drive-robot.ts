/** A robot that drives: an engine with the tasks of the drive example, its motor, and whoever tells it to drive. */
import { readFileSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { connect } from "../../src/client/client.ts";
import { Cable } from "./cable.ts";
import { type RunningCommand, startCommand } from "./command.ts";
import { type Engine, startEngine } from "./engine.ts";
import { taskEngine } from "./executable.ts";
import { python } from "./manager.ts";
import { Motor } from "./motor.ts";
import { freePorts } from "./ports.ts";
import { type TempFolder, tempFolder } from "./temp-folder.ts";

/** A requestor, or the machine as a whole, stood still for longer than the dead man allows: the robot has stopped for that. */
export class HeldUp extends Error {
  override readonly name = "HeldUp";
}

const answered = async (send: RunningCommand, exitCode: number, said: string): Promise<void> => {
  const real = { exitCode: await send.ended(), said: send.stdout + send.stderr };
  if (real.exitCode === exitCode && real.said.includes(said)) return;
  const what = `${real.exitCode}, ${real.said.trim()}, instead of ${exitCode}, ${said}`;
  throw real.said.includes("DEADMAN") ? new HeldUp(what) : new Error(what);
};

export type Language = "typescript" | "python";
export type DriveTask = "drive" | "spin" | "hold";

const endings = { typescript: "ts", python: "py" } as const;

export class DriveRobot implements AsyncDisposable {
  readonly motor: Motor;
  /** Between it and its requestor; null where they are on one machine. */
  readonly cable: Cable | null;
  readonly #folder: TempFolder;
  readonly #first = freePorts(5);
  readonly #flags: readonly string[];
  #engine: Engine | null = null;
  #requestor: RunningCommand | null = null;

  static async start(language: Language, cable: Cable | null, flags: readonly string[]): Promise<DriveRobot> {
    const robot = new DriveRobot(language, cable, flags);
    await robot.startEngine();
    return robot;
  }

  private constructor(language: Language, cable: Cable | null, flags: readonly string[]) {
    this.cable = cable;
    this.#flags = flags;
    const ending = endings[language];
    const tasks = readFileSync(join(import.meta.dir, `drive-tasks.${ending}`), "utf8");
    this.#folder = tempFolder({ [`tasks/drive.${ending}`]: tasks, motor: "0" });
    this.motor = new Motor(this.#folder.at("motor"));
    writeFileSync(
      this.#folder.at("task-engine.toml"),
      `host = "${this.#host}"\ninsecure = ${cable !== null}\npython = "${python}"\npython-workers = 2\n[env]\nMOTOR = "${this.motor.path}"\n`,
    );
  }

  get engine(): Engine {
    if (this.#engine === null) throw new Error("there is no engine");
    return this.#engine;
  }

  /** Whoever has said last that the robot is to drive: a `send`, which tells that it is there. */
  get requestor(): RunningCommand {
    if (this.#requestor === null) throw new Error("there is no requestor");
    return this.#requestor;
  }

  /** An engine where none is any more: with what the last one has left. */
  async startEngine(): Promise<void> {
    this.#engine = await startEngine({
      command: [...(this.cable?.at("robot") ?? []), ...taskEngine],
      cwd: this.#folder.path,
      state: this.#folder.at("state"),
      first: this.#first,
      flags: this.#flags,
    });
  }

  /** Gives it work for a minute; the motor turns when this resolves. */
  async setOff(task: DriveTask): Promise<void> {
    const send = this.#send(task, "60");
    this.#requestor = send;
    await this.motor.turns(() => send.hasEnded);
    if (send.hasEnded) await this.answers(0, "nothing: it should still drive");
  }

  /** Waits until whoever has set it off is answered so. */
  async answers(exitCode: number, said: string): Promise<void> {
    await answered(this.requestor, exitCode, said);
  }

  /** Waits until a short drive, asked for anew, has ended as it should. */
  async drivesAgain(): Promise<void> {
    await using send = this.#send("drive", "0.05");
    await answered(send, 0, "there");
  }

  async estop(): Promise<void> {
    await using client = connect(this.#endpoint);
    await client.estop("somebody is in the way");
  }

  async reset(): Promise<void> {
    await using client = connect(this.#endpoint);
    await client.reset();
  }

  /** The process of the worker that drives. */
  async driver(): Promise<number> {
    await using client = connect(this.#endpoint);
    const { workers } = await client.status();
    const [driver, ...others] = workers.filter(({ role, state }) => role === "task" && state === "busy");
    if (driver === undefined) await this.answers(0, "nothing: it should still drive");
    if (driver === undefined || others.length > 0) throw new Error("not one worker is busy");
    return driver.pid;
  }

  process(role: string): number {
    const [pid] = this.engine.pidsOf(role);
    if (pid === undefined) throw new Error(`no ${role} is alive`);
    return pid;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    using _ = this.#folder;
    await this.#requestor?.[Symbol.asyncDispose]();
    await this.#engine?.[Symbol.asyncDispose]();
  }

  get #host(): string {
    return this.cable === null ? "127.0.0.1" : Cable.robotAddress;
  }

  get #endpoint(): string {
    return `tcp://${this.#host}:${this.#first}`;
  }

  #send(task: string, seconds: string): RunningCommand {
    const env = { PATH: process.env.PATH ?? "", HOME: process.env.HOME ?? homedir() };
    const args = ["send", task, seconds, "--router", this.#endpoint, "--wait", "90000"];
    return startCommand(args, { env, prefix: this.cable?.at("laptop") ?? [] });
  }
}
