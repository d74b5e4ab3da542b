/** Sticks: from keys and gamepads to a position, from a position to numbers that a task takes. */

/** From −1 to 1; forward and right are positive. */
export interface Stick {
  readonly forward: number;
  readonly turn: number;
}

export const neutral: Stick = { forward: 0, turn: 0 };

export const isNeutral = ({ forward, turn }: Stick): boolean => forward === 0 && turn === 0;

/** Nearer than this a stick trembles: a call for each of its bits would only end the one before. */
const tremble = 0.03;

/** Whether a call for one position serves the other as well. */
export const isSame = (one: Stick, other: Stick): boolean =>
  isNeutral(one) === isNeutral(other) &&
  Math.abs(one.forward - other.forward) < tremble &&
  Math.abs(one.turn - other.turn) < tremble;

const directions: Readonly<Record<string, Stick>> = {
  KeyW: { forward: 1, turn: 0 },
  ArrowUp: { forward: 1, turn: 0 },
  KeyS: { forward: -1, turn: 0 },
  ArrowDown: { forward: -1, turn: 0 },
  KeyA: { forward: 0, turn: -1 },
  ArrowLeft: { forward: 0, turn: -1 },
  KeyD: { forward: 0, turn: 1 },
  ArrowRight: { forward: 0, turn: 1 },
};

export const isDriveKey = (code: string): boolean => Object.hasOwn(directions, code);

/** @param codes of the keys that are held, as in `KeyboardEvent.code` */
export const stickOfKeys = (codes: Iterable<string>): Stick => {
  let { forward, turn } = neutral;
  for (const code of codes) {
    forward += directions[code]?.forward ?? 0;
    turn += directions[code]?.turn ?? 0;
  }
  return { forward: within(forward), turn: within(turn) };
};

/** No stick comes back to 0 exactly. */
const deadZone = 0.12;

/** The left stick of a gamepad in the standard layout. */
export const stickOfPad = (axes: readonly number[]): Stick => ({
  forward: outsideDeadZone(-(axes[1] ?? 0)),
  turn: outsideDeadZone(axes[0] ?? 0),
});

const outsideDeadZone = (value: number): number => {
  if (!(Math.abs(value) > deadZone)) return 0;
  return within((Math.sign(value) * (Math.abs(value) - deadZone)) / (1 - deadZone));
};

/** @param x px to the right of the middle @param y px below it @param radius px */
export const stickOfTouch = (x: number, y: number, radius: number): Stick => {
  const distance = Math.hypot(x, y);
  const scale = 1 / Math.max(distance, radius);
  return { forward: rounded(-y * scale), turn: rounded(x * scale) };
};

export const within = (value: number): number => Math.max(-1, Math.min(1, value));

const rounded = (value: number): number => {
  const hundredths = Math.round(value * 100) / 100;
  return Math.abs(hundredths) < 0.05 ? 0 : hundredths;
};

/**
 * The words that stand for a position in the arguments of a task.
 * @param limit from 0 to 1: the largest number
 */
export const wordsOf = ({ forward, turn }: Stick, limit: number): Readonly<Record<string, number>> => {
  const scaled = (value: number): number => Math.round(within(value) * limit * 100) / 100 + 0;
  return {
    forward: scaled(forward),
    turn: scaled(turn),
    left: scaled(forward + turn),
    right: scaled(forward - turn),
  };
};

/** ms. The noise of a living stick changes a bit of its position sooner. */
const frozenMs = 1_000;

/**
 * Sees a pad that has died with its stick deflected: its browser goes on giving the last position,
 * which then does not change by a bit.
 */
export class FrozenPad {
  #last = "";
  #changedAtMs = 0;

  /** @param numbers all axes and buttons of the pad */
  isFrozen(numbers: readonly number[], isDeflected: boolean, nowMs: number): boolean {
    const state = numbers.join(" ");
    if (state !== this.#last || !isDeflected) {
      this.#last = state;
      this.#changedAtMs = nowMs;
    }
    return nowMs - this.#changedAtMs >= frozenMs;
  }
}
