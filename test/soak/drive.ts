/**
 * A robot drives, and something dies, hangs, or is told to stop: the motor stands within the time that the README says, does not turn
 * again, and the robot drives when it is asked anew. Real processes, real signals, a real cable (Linux, root; where there are no
 * network namespaces that one is left out, except in continuous integration).
 * Not a part of `bun test`: `bun test ./test/soak/drive.ts` runs it, and the gate does. TIMES=50 does each 50 times.
 */
import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { Cable } from "../support/cable.ts";
import { type Cause, causes } from "../support/drive-causes.ts";
import { DriveRobot, HeldUp, type Language } from "../support/drive-robot.ts";

const times = Number(process.env.TIMES ?? 3);
setDefaultTimeout(60_000 + times * 10_000);

/** On a busy machine a requestor may get no processor for as long as its dead man allows. Such a round counts for nothing, and there are few. */
const heldUpMax = 2 + times / 10;

const cable = Cable.plug();
if (cable === null && process.env.CI === undefined)
  process.stderr.write("no network namespaces here (are you root?): no cable is cut\n");
afterAll(() => cable?.[Symbol.dispose]());

const languages = ["typescript", "python"] as const;
const rounds = languages.flatMap((language) =>
  causes.filter((cause) => (cause.language ?? language) === language).map((cause) => ({ language, cause })),
);

for (const { language, cause } of rounds) {
  const isLeftOut = cause.needsCable === true && cable === null && process.env.CI === undefined;
  test.skipIf(isLeftOut)(
    `${language}: ${cause.name}: the motor stands within ${cause.boundMs} ms, and the robot drives again, ${times} times`,
    async () => {
      const tookMs: number[] = [];
      let heldUp = 0;
      while (tookMs.length < times) {
        try {
          tookMs.push(await once(language, cause));
        } catch (failure) {
          if (!(failure instanceof HeldUp) || ++heldUp > heldUpMax) throw failure;
        }
      }
      report(language, cause, tookMs, heldUp);
      expect(Math.max(...tookMs)).toBeLessThanOrEqual(cause.boundMs);
    },
  );
}

/** ms from the cause until the motor stands. */
const once = async (
  language: Language,
  { task, flags = [], afterMs = 0, needsCable = false, strike, said, repair }: Cause,
): Promise<number> => {
  if (needsCable) expect(cable).not.toBeNull();
  await using robot = await DriveRobot.start(language, needsCable ? cable : null, flags);
  await robot.setOff(task);
  // At any time between two keep-alives, and between two of the task's steps.
  if (task === "drive") await Bun.sleep(Math.random() * 100);
  let struckMs = Number.NaN;
  const now = (): void => {
    struckMs = performance.now();
  };
  const [stoodMs] = await Promise.all([robot.motor.stands(), strike(robot, now)]);
  await repair?.(robot);
  if (said !== null) await robot.answers(...said);
  // An engine that was started anew makes it safe once more, and may be at that.
  expect(await robot.motor.known()).toBe(0);
  await robot.drivesAgain();
  // Not before the cause, by something else.
  expect(stoodMs).toBeGreaterThanOrEqual(struckMs);
  return Math.max(stoodMs - struckMs - afterMs, 0);
};

const report = (language: Language, { name, boundMs }: Cause, tookMs: readonly number[], heldUp: number): void => {
  const sorted = tookMs.toSorted((one, other) => one - other);
  const share = (part: number): number => sorted[Math.ceil(sorted.length * part) - 1] ?? Number.NaN;
  const figures = [share(0.5), share(0.99), share(1)].map((ms) => ms.toFixed(0).padStart(6)).join("");
  const others = heldUp === 0 ? "" : `; ${heldUp} more were ended by the dead man of a requestor that was held up`;
  process.stdout.write(
    `${language.padEnd(11)}${name.padEnd(72)}${figures} ms (median, p99, max of ${times}); at most ${boundMs} ms${others}\n`,
  );
};
