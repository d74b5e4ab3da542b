/** All that can go wrong while a robot drives, and what its motor then does: the table of the README, each row of it a cause. */
import type { DriveRobot, DriveTask, Language } from "./drive-robot.ts";

export interface Cause {
  readonly name: string;
  /** What the robot is at. `spin` loops for ever; `hold` is C code of Python that lets nothing else run. */
  readonly task: DriveTask;
  /** ms within which the motor stands, as the README has it. */
  readonly boundMs: number;
  /** Of tasks in one language alone. */
  readonly language?: Language;
  /** ms of a time limit of the task, which begins at that instant, about: they do not count. */
  readonly afterMs?: number;
  /** Flags of the engine. */
  readonly flags?: readonly string[];
  /** The robot's requestor is on another machine. */
  readonly needsCable?: boolean;
  /** Makes it happen; what has to be found out first comes before `now`, whose call is the instant from which is counted. */
  readonly strike: (robot: DriveRobot, now: () => void) => Promise<unknown>;
  /** What the requestor says then on stderr, and its exit code; null where there is no requestor any more. */
  readonly said: readonly [exitCode: number, text: string] | null;
  /** What has to be done so that the robot can drive again; nothing, if there is nothing. */
  readonly repair?: (robot: DriveRobot) => Promise<unknown>;
}

const kill = async (now: () => void, ...pids: readonly number[]): Promise<void> => {
  now();
  // At once, on a busy machine, too: the router must not outlive the supervisor by a safe stop.
  if (pids.length > 1) for (const pid of pids) process.kill(pid, "SIGSTOP");
  for (const pid of pids) process.kill(pid, "SIGKILL");
};

/** The engine has ended, or is about to. */
const startAnew = async (robot: DriveRobot): Promise<void> => {
  await robot.engine.ended();
  await robot.startEngine();
};

const signalRequestor =
  (signal: NodeJS.Signals): Cause["strike"] =>
  async ({ requestor }, now) => {
    now();
    requestor.signal(signal);
  };

const estop: Cause["strike"] = async (robot, now) => {
  now();
  await robot.estop();
};

const ignore = (): void => undefined;

export const causes: readonly Cause[] = [
  {
    name: "the task worker is killed",
    task: "drive",
    boundMs: 1_000,
    strike: async (robot, now) => kill(now, await robot.driver()),
    said: [1, "INTERRUPTED"],
  },
  {
    name: "the only task worker is killed",
    task: "drive",
    boundMs: 5_000,
    flags: ["--task-workers", "1", "--python-workers", "1"],
    strike: async (robot, now) => kill(now, await robot.driver()),
    said: [1, "INTERRUPTED"],
  },
  {
    name: "the router is killed",
    task: "drive",
    boundMs: 1_000,
    strike: async (robot, now) => kill(now, robot.process("router")),
    said: [1, "INTERRUPTED"],
  },
  {
    name: "the supervisor is killed",
    task: "drive",
    boundMs: 5_000,
    strike: async (robot, now) => kill(now, robot.engine.pid),
    said: [1, "INTERRUPTED"],
    repair: startAnew,
  },
  {
    name: "all of the engine is killed (counted from its next start)",
    task: "drive",
    boundMs: 5_000,
    strike: async (robot, now) => {
      const { pid, childPids } = robot.engine;
      await kill(ignore, pid, ...childPids);
      await robot.engine.ended();
      now();
      await robot.startEngine();
    },
    said: [1, "INTERRUPTED"],
  },
  {
    name: "the requestor is killed",
    task: "drive",
    boundMs: 1_000,
    strike: signalRequestor("SIGKILL"),
    said: null,
  },
  {
    name: "the requestor hangs",
    task: "drive",
    boundMs: 1_000,
    strike: signalRequestor("SIGSTOP"),
    repair: async ({ requestor }) => requestor.signal("SIGCONT"),
    said: [1, "DEADMAN"],
  },
  {
    name: "the cable is cut",
    task: "drive",
    boundMs: 1_000,
    needsCable: true,
    strike: async ({ cable }, now) => {
      now();
      cable?.cut();
    },
    repair: async ({ cable }) => cable?.mend(),
    said: [1, "DEADMAN"],
  },
  {
    name: "the task loops for ever (counted from the end of its timeoutMs)",
    task: "spin",
    boundMs: 1_500,
    afterMs: 1_000,
    strike: async (_, now) => now(),
    said: [1, "TIMEOUT"],
  },
  {
    name: "C code holds the lock of Python (counted from the end of its timeoutMs)",
    task: "hold",
    language: "python",
    boundMs: 1_500,
    afterMs: 1_000,
    strike: async (_, now) => now(),
    said: [1, "TIMEOUT"],
  },
  {
    name: "the requestor is killed, while C code holds the lock of Python",
    task: "hold",
    language: "python",
    boundMs: 1_500,
    strike: signalRequestor("SIGKILL"),
    said: null,
  },
  {
    name: "emergency stop, while C code holds the lock of Python",
    task: "hold",
    language: "python",
    boundMs: 1_000,
    strike: estop,
    said: [1, "STOPPED"],
    repair: (robot) => robot.reset(),
  },
  {
    name: "emergency stop",
    task: "drive",
    boundMs: 1_000,
    strike: estop,
    said: [1, "STOPPED"],
    repair: (robot) => robot.reset(),
  },
  {
    name: "emergency stop, while the task loops for ever",
    task: "spin",
    boundMs: 1_000,
    strike: estop,
    said: [1, "STOPPED"],
    repair: (robot) => robot.reset(),
  },
  {
    name: "Ctrl-C of the requestor",
    task: "drive",
    boundMs: 1_000,
    strike: signalRequestor("SIGINT"),
    said: [130, "cancelled"],
  },
  {
    name: "SIGTERM of the engine (--grace-ms 500)",
    task: "drive",
    boundMs: 2_000,
    flags: ["--grace-ms", "500"],
    strike: async ({ engine }, now) => {
      now();
      engine.signal("SIGTERM");
    },
    said: [1, "SHUTTING_DOWN"],
    repair: startAnew,
  },
];
