/**
 * Driving by the page: whatever happens to whoever drives, the motor comes to a stand and does not turn
 * again by itself. How long that takes is measured by test/soak/page.ts.
 */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { type Browser, startBrowser } from "../../support/browser.ts";
import { type Driver, openDriver, pageCauses, setOff } from "../../support/page-causes.ts";
import { PageRobot } from "../../support/page-robot.ts";

setDefaultTimeout(120_000);

/** ms. Long, so that a busy machine is no reason to stop. */
const deadmanMs = 2_000;

let robot: PageRobot;
let browser: Browser | null = null;
beforeAll(async () => {
  robot = await PageRobot.start();
});
afterAll(async () => {
  await browser?.[Symbol.asyncDispose]();
  await robot?.[Symbol.asyncDispose]();
});

/** A page of its own for each test; a new browser only where the last one is gone. */
const takeWheel = async (): Promise<Driver> => {
  if (browser?.isThere !== true) browser = await startBrowser();
  return openDriver(robot, deadmanMs, browser);
};

test("keys drive, and the motor stands when they are released", async () => {
  await using driver = await takeWheel();
  await setOff(driver, robot, "key");
  await driver.page.keyboard.up("KeyW");
  await robot.motor.stands();
  await driver.page.getByRole("button", { name: "Let go" }).click();
  await driver.page.getByText("Neutral: you let go").waitFor();
});

test("a gamepad drives, and one that does not change by a bit for a second counts as dead", async () => {
  await using driver = await takeWheel();
  await setOff(driver, robot, "pad");
  await driver.page.evaluate("padAxes = () => [0, -0.95]");
  await driver.page.getByText("the gamepad's stick has not changed for 1 s").waitFor();
  await robot.motor.stands();
  // Nor does it drive when it is still deflected at the next start.
  await driver.page.evaluate("padAxes = () => [0, -0.9 - Math.random() / 100]");
  await driver.page.getByRole("button", { name: "Drive", exact: true }).click();
  await driver.page.getByText("Driving.").waitFor();
  await robot.motor.stands();
  await driver.page.evaluate("padAxes = null");
  await driver.page.getByRole("button", { name: "Let go" }).click();
});

test("a gamepad that is gone while it drives is noticed", async () => {
  await using driver = await takeWheel();
  await setOff(driver, robot, "pad");
  await driver.page.evaluate("padAxes = null");
  await robot.motor.stands();
  await driver.page.getByText("the gamepad is gone").waitFor();
});

for (const { name, strike, said } of pageCauses.filter(({ isSoak }) => isSoak !== true)) {
  test(`${name}: the motor stands, and does not turn again by itself`, async () => {
    await using driver = await takeWheel();
    await setOff(driver, robot);
    await strike(driver, robot);
    await robot.motor.stands();
    if (said !== undefined) await driver.page.locator(".phase", { hasText: said }).waitFor();
    expect(driver.browser.complaints).toEqual([]);
  });
}

test("what a network has held back for longer than the dead man moves nothing when it comes", async () => {
  await using driver = await takeWheel();
  await setOff(driver, robot);
  driver.cable.hold();
  // It goes on commanding, into a network that delivers nothing.
  for (let step = 0; step < 20; step++) {
    await driver.page.mouse.move(195, 300 + step);
    await Bun.sleep(20);
  }
  await robot.motor.stands();
  driver.cable.burst();
  await robot.motor.stands();
  await driver.page.locator(".phase", { hasText: "Neutral" }).waitFor();
});
