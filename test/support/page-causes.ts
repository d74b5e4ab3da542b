/** Ways in which whoever drives by the page is gone, and the robot that has to notice. */
import type { Page } from "playwright-core";
import type { Browser } from "./browser.ts";
import type { PageRobot } from "./page-robot.ts";
import { SlowCable } from "./slow-cable.ts";

export interface Driver extends AsyncDisposable {
  readonly browser: Browser;
  readonly cable: SlowCable;
  readonly page: Page;
}

export interface PageCause {
  readonly name: string;
  readonly strike: (driver: Driver, robot: PageRobot) => unknown;
  /** What the page says of it, where there still is one that is seen. */
  readonly said?: RegExp;
  /** Whether it is left to test/soak/page.ts. */
  readonly isSoak?: boolean;
}

/** In the place of a gamepad, which no test machine has: the browser's own answer to `getGamepads`. */
const pad = `
  globalThis.padAxes = null;
  navigator.getGamepads = () => padAxes === null ? [null] : [{ index: 0, axes: padAxes(), buttons: [] }];
`;
/** A living stick is never quite still. */
const livingStick = `void (padAxes = () => [Math.random() / 100, -0.9 - Math.random() / 100])`;

export const pageCauses: readonly PageCause[] = [
  { name: "Chromium is killed", strike: ({ browser }) => browser.kill() },
  { name: "the network is cut", said: /silent|lost/, strike: ({ cable }) => cable.cut() },
  {
    name: "the connection breaks",
    isSoak: true,
    said: /the connection is lost/,
    strike: ({ cable }) => cable.break(),
  },
  {
    name: "another window is in front",
    isSoak: true,
    said: /lost the focus/,
    strike: async ({ page }) => {
      const session = await page.context().newCDPSession(page);
      // Playwright has every page believe that it is the one in front.
      await session.send("Emulation.setFocusEmulationEnabled", { enabled: false });
      await (await page.context().newPage()).bringToFront();
    },
  },
  {
    name: "the tab is hidden",
    said: /the tab is hidden/,
    // A Chromium without a screen hides no tab, so it is told that it has.
    strike: ({ page }) =>
      page.evaluate(`
        Object.defineProperty(document, "hidden", { value: true });
        document.dispatchEvent(new Event("visibilitychange"));
      `),
  },
  {
    name: "the page hangs",
    isSoak: true,
    strike: ({ page }) =>
      page.evaluate("void setTimeout(() => { for (const end = Date.now() + 4000; Date.now() < end; ); })"),
  },
  {
    name: "the thumb lets go",
    isSoak: true,
    strike: ({ page }) => page.mouse.up(),
  },
  {
    name: "STOP is pressed",
    isSoak: true,
    said: /STOP was pressed/,
    strike: async ({ page }, robot) => {
      await page.evaluate("document.querySelector('.stop-button').click()");
      await page.getByText("Stopped since").waitFor();
      await robot.reset();
    },
  },
];

/** @param browser that is still there, and is used again */
export const openDriver = async (robot: PageRobot, deadmanMs: number, browser: Browser): Promise<Driver> => {
  const cable = new SlowCable(robot.httpPort);
  const page = await browser.open("about:blank");
  await page.addInitScript(pad);
  const settings = { task: "drive", typed: "forward", deadmanMs, percent: 100 };
  await page.addInitScript(`localStorage.setItem("task-engine.drive", ${JSON.stringify(JSON.stringify(settings))})`);
  await page.goto(`${cable.url}/#drive`);
  return {
    browser,
    cable,
    page,
    [Symbol.asyncDispose]: async () => {
      if (browser.isThere) await page.context().close();
      cable[Symbol.dispose]();
    },
  };
};

/** The motor turns when it resolves. @param by what moves: a thumb, which stays where it is, or a key, or a gamepad */
export const setOff = async (
  driver: Driver,
  robot: PageRobot,
  by: "thumb" | "key" | "pad" = "thumb",
): Promise<void> => {
  const { page } = driver;
  const begin = page.getByRole("button", { name: "Drive", exact: true });
  // A machine that is too busy for the dead man ends it again before it has begun.
  for (let tries = 1; ; tries++) {
    await begin.click();
    await page.locator(".phase", { hasText: /Driving|Neutral: / }).waitFor();
    await push(page, by);
    while (!robot.motor.isTurning && !(await begin.isVisible())) await Bun.sleep(5);
    if (robot.motor.isTurning) return;
    if (tries === triesMax) throw new Error(`it does not drive: ${await page.locator(".phase").textContent()}`);
    await page.mouse.up();
  }
};

const triesMax = 10;

const push = async (page: Page, by: "thumb" | "key" | "pad"): Promise<void> => {
  if (by === "key") return page.keyboard.down("KeyW");
  if (by === "pad") return page.evaluate(livingStick);
  const box = await page.getByRole("application", { name: /Joystick/ }).boundingBox();
  if (box === null) throw new Error("there is no joystick");
  await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width / 2, box.y + 10);
};
