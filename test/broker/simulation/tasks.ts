/** The tasks of the simulated engine: what their definitions say, and how they behave when they run. */
import type { Policy } from "../../../src/protocol/policy.ts";
import type { Random } from "./random.ts";

/** What one run is going to do. */
export interface Behaviour {
  /** ms; Infinity: it never ends by itself */
  readonly runMs: number;
  /** It blocks its worker's event loop: that neither hears nor beats until it has ended. */
  readonly blocks?: boolean;
  readonly obeysAbort?: boolean;
  readonly throws?: boolean;
  /** Its end is that of its worker. */
  readonly kills?: boolean;
  readonly reports?: boolean;
}

export interface SimulatedTask {
  readonly policy: Policy;
  readonly canThrow?: boolean;
  readonly canKill?: boolean;
  readonly run: (random: Random) => Behaviour;
}

export const simulatedTasks: Readonly<Record<string, SimulatedTask>> = {
  quick: { policy: {}, run: (random) => ({ runMs: random.between(0.02, 0.4), blocks: true }) },
  slow: { policy: {}, run: (random) => ({ runMs: random.between(20, 1500), obeysAbort: random.chance(0.8) }) },
  // Short as a rule, so that others wait behind it in its worker, and sometimes not.
  moody: {
    policy: { timeoutMs: 400 },
    run: (random) =>
      random.chance(0.93)
        ? { runMs: random.between(0.02, 0.3), blocks: true }
        : {
            runMs: random.chance(0.3) ? Number.POSITIVE_INFINITY : random.between(1, 2000),
            blocks: random.chance(0.5),
          },
  },
  limited: {
    policy: { timeoutMs: 200, graceMs: 100 },
    run: (random) => ({ runMs: random.between(5, 600), obeysAbort: random.chance(0.5) }),
  },
  endless: {
    policy: { timeoutMs: 300 },
    run: (random) => ({
      runMs: random.chance(0.5) ? Number.POSITIVE_INFINITY : random.between(1, 900),
      blocks: true,
    }),
  },
  thrower: {
    policy: {},
    canThrow: true,
    run: (random) => ({ runMs: random.between(0.1, 20), throws: random.chance(0.6) }),
  },
  flaky: {
    policy: { idempotent: { tries: 4, backoffMs: 20, onError: true }, timeoutMs: 500 },
    canThrow: true,
    run: (random) =>
      random.chance(0.05)
        ? { runMs: Number.POSITIVE_INFINITY, blocks: random.chance(0.5) }
        : { runMs: random.between(0.1, 30), throws: random.chance(0.5) },
  },
  safe: { policy: { idempotent: true }, run: (random) => ({ runMs: random.between(1, 200), obeysAbort: true }) },
  poison: {
    policy: { idempotent: { tries: 10, backoffMs: 10 } },
    canKill: true,
    run: (random) => ({ runMs: random.between(0, 10), kills: random.chance(0.7) }),
  },
  assassin: {
    policy: {},
    canKill: true,
    run: (random) => ({ runMs: random.between(0, 50), kills: random.chance(0.5) }),
  },
  stale: { policy: { ttlMs: 120 }, run: (random) => ({ runMs: random.between(0.02, 60), blocks: true }) },
  drive: {
    policy: { resources: ["motors"], onStop: true, timeoutMs: 400, graceMs: 50, preemptible: true },
    canThrow: true,
    run: (random) => ({
      runMs: random.chance(0.1) ? Number.POSITIVE_INFINITY : random.between(5, 500),
      obeysAbort: random.chance(0.7),
      throws: random.chance(0.2),
      blocks: random.chance(0.1),
    }),
  },
  grab: {
    policy: { resources: ["motors", "arm"], onStop: true, onStopMs: 150, timeoutMs: 300, deadmanMs: 250 },
    run: (random) => ({ runMs: random.between(5, 300), obeysAbort: random.chance(0.8) }),
  },
  lift: {
    policy: { resources: ["arm"], idempotent: { tries: 3, backoffMs: 20, onError: true } },
    canThrow: true,
    run: (random) => ({ runMs: random.between(1, 100), throws: random.chance(0.3), obeysAbort: true }),
  },
  blink: {
    policy: { resources: ["lamp"], allowedWhenStopped: true },
    run: (random) => ({ runMs: random.between(1, 100), obeysAbort: true }),
  },
  photo: {
    policy: { moves: false },
    canThrow: true,
    run: (random) => ({ runMs: random.between(0.1, 100), obeysAbort: true, throws: random.chance(0.2) }),
  },
  patrol: {
    policy: { resumesAfterRestart: true, resources: ["motors"], onStop: true },
    run: (random) => ({ runMs: random.between(1, 300), obeysAbort: random.chance(0.8) }),
  },
  upload: {
    policy: { moves: false, durable: true },
    canThrow: true,
    run: (random) => ({ runMs: random.between(0.1, 100), obeysAbort: true, throws: random.chance(0.2) }),
  },
  copy: {
    policy: { moves: false, durable: true, idempotent: { tries: 3, backoffMs: 20, onError: true }, timeoutMs: 500 },
    canThrow: true,
    run: (random) => ({ runMs: random.between(0.1, 200), throws: random.chance(0.3), blocks: random.chance(0.2) }),
  },
  haul: {
    policy: { resumesAfterRestart: true, durable: true, resources: ["motors"], onStop: true },
    run: (random) => ({ runMs: random.between(1, 300), obeysAbort: random.chance(0.8) }),
  },
  chatty: { policy: {}, run: (random) => ({ runMs: random.between(1, 100), obeysAbort: true, reports: true }) },
};

export const taskNames = Object.keys(simulatedTasks);

export const taskOf = (name: string): SimulatedTask => {
  const task = simulatedTasks[name];
  if (task === undefined) throw new Error(`a worker was given ${name}, which does not exist`);
  return task;
};

/** How often it may run in all. */
export const triesOf = ({ policy: { idempotent } }: SimulatedTask): number => {
  if (idempotent === undefined || idempotent === false) return 1;
  return idempotent === true ? 3 : (idempotent.tries ?? 3);
};
