/** The motor of the drive example: a file that says how fast it turns. */
import { readFileSync } from "node:fs";

/** ms. Nothing takes as long; a test that gets there has failed. */
const patienceMs = 60_000;

/** ms at zero after which nobody is about to write again: the tasks write each 10 ms. */
const calmMs = 300;

export class Motor {
  constructor(readonly path: string) {}

  /** null where that is not known at this instant: whoever writes it empties the file first. */
  get speed(): number | null {
    const text = readFileSync(this.path, "latin1");
    return text === "" ? null : Number(text);
  }

  /** Its speed, as soon as that is known. */
  async known(): Promise<number> {
    let known = Number.NaN;
    await this.#until((speed) => {
      known = speed ?? known;
      return speed !== null;
    }, "has no speed");
    return known;
  }

  get isTurning(): boolean {
    return (this.speed ?? 0) > 0;
  }

  /** Waits until it turns, or `isHopeless`. */
  async turns(isHopeless = (): boolean => false): Promise<void> {
    await this.#until((speed) => (speed !== null && speed > 0) || isHopeless(), "does not turn");
  }

  /** Waits until it has stopped, and has stood still long enough; gives when it stopped, a time of performance.now(). Once it has, it must not turn again. */
  async stands(): Promise<number> {
    const stoppedMs = await this.#until((speed) => speed === 0, "still turns");
    while (performance.now() < stoppedMs + calmMs) {
      if ((this.speed ?? 0) > 0) throw new Error(`the motor turns again ${performance.now() - stoppedMs} ms later`);
      await Bun.sleep(1);
    }
    return stoppedMs;
  }

  async #until(isSo: (speed: number | null) => boolean, complaint: string): Promise<number> {
    for (const overAtMs = performance.now() + patienceMs; performance.now() < overAtMs; await Bun.sleep(1)) {
      const nowMs = performance.now();
      if (isSo(this.speed)) return nowMs;
    }
    throw new Error(`the motor ${complaint} after ${patienceMs} ms`);
  }
}
