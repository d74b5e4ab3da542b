/**
 * Somebody drives by the page in a real Chromium, and is gone: the motor stands, does not turn again by
 * itself, and the robot is driven again by a new page. It prints how long the motor turned, from the moment
 * that the cause was asked for.
 * Not a part of `bun test`: `bun test ./test/soak/page.ts` runs it, and the gate does. TIMES=50 does each 50 times.
 */
import { afterAll, beforeAll, setDefaultTimeout, test } from "bun:test";
import { type Browser, startBrowser } from "../support/browser.ts";
import { openDriver, type PageCause, pageCauses, setOff } from "../support/page-causes.ts";
import { PageRobot } from "../support/page-robot.ts";

const times = Number(process.env.TIMES ?? 5);
const deadmanMs = 300;
setDefaultTimeout(120_000 + times * 20_000);

let robot: PageRobot;
let browser: Browser | null = null;
beforeAll(async () => {
  robot = await PageRobot.start();
});
afterAll(async () => {
  await browser?.[Symbol.asyncDispose]();
  await robot?.[Symbol.asyncDispose]();
});

for (const cause of pageCauses) {
  test(`${cause.name}: the motor stands, and a new page drives again, ${times} times`, async () => {
    const tookMs: number[] = [];
    while (tookMs.length < times) tookMs.push(await once(cause));
    report(cause.name, tookMs);
  });
}

/** ms from the cause until the motor stands; 0 where a machine that is too busy had ended it already. */
const once = async ({ strike }: PageCause): Promise<number> => {
  if (browser?.isThere !== true) browser = await startBrowser();
  await using driver = await openDriver(robot, deadmanMs, browser);
  await setOff(driver, robot);
  const struckMs = performance.now();
  const [stoodMs] = await Promise.all([robot.motor.stands(), strike(driver, robot)]);
  return Math.max(0, stoodMs - struckMs);
};

const report = (name: string, tookMs: readonly number[]): void => {
  const sorted = tookMs.toSorted((one, other) => one - other);
  const share = (part: number): number => sorted[Math.ceil(sorted.length * part) - 1] ?? Number.NaN;
  const figures = [share(0.5), share(0.99), share(1)].map((ms) => ms.toFixed(0).padStart(6)).join("");
  process.stdout.write(`${name.padEnd(40)}${figures} ms (median, p99, max of ${times}); dead man ${deadmanMs} ms\n`);
};
