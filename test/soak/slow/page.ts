/** The page in a real browser, before a real gateway and engine. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import type { Page } from "playwright-core";
import { type Browser, phone, startBrowser, views } from "../../support/browser.ts";
import { PageRobot } from "../../support/page-robot.ts";

setDefaultTimeout(120_000);

let robot: PageRobot;
let browser: Browser;
/** One for all tests: each costs a process. */
let page: Page;
beforeAll(async () => {
  [browser, robot] = await Promise.all([startBrowser(), PageRobot.start()]);
  page = await browser.open(robot.url, { colorScheme: "light" });
});
afterAll(async () => {
  await browser?.[Symbol.asyncDispose]();
  await robot?.[Symbol.asyncDispose]();
});

const show = async (view: string): Promise<void> => {
  await page.getByRole("link", { name: new RegExp(`^${view}$`, "i") }).click();
  await page.getByRole("status").getByText("live").waitFor();
};

test("STOP comes first, stops a running job with one tap, and says since when and why; reset asks", async () => {
  await page.getByRole("status").getByText("live").waitFor();
  await page.keyboard.press("Tab");
  expect(await page.evaluate("document.activeElement.textContent")).toBe("STOP");
  const held = robot.call("hold");
  await page.getByRole("cell", { name: "arm", exact: true }).waitFor();
  await page.getByRole("button", { name: "STOP" }).tap();
  expect(await (await held).json()).toMatchObject({ code: "STOPPED" });
  const banner = page.getByRole("alert", { name: "Emergency stop" });
  await banner.getByText("Stopped since").waitFor();
  await banner.getByText("STOP button of the page").waitFor();
  await banner.getByRole("button", { name: "Reset" }).click();
  await banner.getByText("Is everybody clear").waitFor();
  // One that leaves it stays stopped.
  await banner.getByRole("button", { name: "Leave it" }).click();
  expect((await robot.call("add", [1, 2])).status).toBe(409);
  await banner.getByRole("button", { name: "Reset" }).click();
  await banner.getByRole("button", { name: "Reset" }).click();
  await banner.waitFor({ state: "detached" });
  expect((await robot.call("add", [1, 2])).status).toBe(200);
});

test("a form that is made of a task's schema names what is missing, and runs the task", async () => {
  await show("tasks");
  await page.getByText("add", { exact: true }).click();
  await page.getByRole("button", { name: "Run add" }).click();
  expect(await page.getByText("is needed").count()).toBe(2);
  await page.getByLabel("first").fill("2.5");
  await page.getByLabel("second").fill("11");
  await page.getByRole("button", { name: "Run add" }).click();
  await page.getByText("is more than 10").waitFor();
  await page.getByLabel("second").fill("3");
  await page.getByLabel("unit").selectOption("mm");
  await page.getByRole("button", { name: "Run add" }).click();
  await page.getByText("5.5 mm").waitFor();
});

test("a task without a schema takes its arguments as the command line does", async () => {
  await show("tasks");
  await page.getByText("count", { exact: true }).click();
  await page.getByLabel("Arguments").fill("2 3");
  await page.getByRole("button", { name: "Run count" }).click();
  await page.locator("pre", { hasText: /^5$/ }).waitFor();
});

test("a job shows its progress, is cancelled by its button, and stands in the history with its code", async () => {
  await show("jobs");
  const climbing = robot.call("climb");
  const bar = page.getByRole("progressbar", { name: "Progress of climb" });
  await bar.waitFor();
  await page.getByRole("button", { name: "Cancel climb" }).click();
  expect(await (await climbing).json()).toMatchObject({ code: "CANCELLED" });
  await bar.waitFor({ state: "detached" });
  await page.locator("summary", { hasText: "climb" }).getByText("cancelled").waitFor();
});

test("a number of a topic is a plot that moves, an object a table, and a picture is shown", async () => {
  await show("data");
  await page.getByLabel("arm/angle").check();
  const plot = page.getByRole("img", { name: "Plot of arm/angle" });
  const drawn = (): Promise<string> => plot.locator("canvas").evaluate((canvas) => canvas.toDataURL());
  const first = await drawn();
  for (let now = first; now === first; now = await drawn()) await Bun.sleep(50);
  await page.getByLabel("arm/pose").check();
  await page.getByRole("cell", { name: "<b id=evil>bold</b>" }).waitFor();
  const headers = { "content-type": "image/png" };
  const put = (): Promise<Response> => robot.ask("/api/data/camera", { method: "PUT", headers, body: picture });
  expect((await put()).status).toBe(200);
  await page.getByLabel("camera").check();
  await page.locator("img[alt^=camera]").waitFor({ state: "attached" });
  while ((await page.evaluate("document.querySelector('img[alt^=camera]').naturalWidth")) !== 2) await Bun.sleep(20);
});

/** A PNG of 2 × 1 pixels. */
const picture = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAIAAAB7QOjdAAAADUlEQVR4nGPYwKAARAAG1wGh3QFj4gAAAABJRU5ErkJggg==",
  "base64",
);

test("what a task, a topic or a log line says is text and never markup", async () => {
  await show("jobs");
  expect((await robot.call("fail")).status).toBe(500);
  await page.locator("summary", { hasText: "fail" }).first().click();
  await page.getByText("TASK_ERROR: <b id=evil>flat battery</b>").waitFor();
  const name = "<img src=x onerror=alert(1)>";
  const headers = { "content-type": "application/json" };
  await robot.ask(`/api/data/${encodeURIComponent(name)}`, { method: "PUT", headers, body: '"<b id=evil>"' });
  await page.getByRole("link", { name: "Data" }).click();
  await page.getByLabel(name).check();
  await page.locator("pre", { hasText: "<b id=evil>" }).waitFor();
  expect(await page.locator("#evil, img[src=x]").count()).toBe(0);
});

test("nothing is wider than a phone in any view, and a theme that was chosen holds over a reload", async () => {
  for (const view of views) {
    await show(view);
    if (view === "tasks") await page.getByText("add", { exact: true }).click();
    const width = await page.evaluate<number>("document.documentElement.scrollWidth");
    expect({ view, width }).toEqual({ view, width: phone.width });
  }
  const theme = (): Promise<string> => page.evaluate("document.documentElement.dataset.theme");
  expect(await theme()).toBe("light");
  await page.getByRole("button", { name: "Theme: auto" }).click();
  await page.getByRole("button", { name: "Theme: light" }).click();
  expect(await theme()).toBe("dark");
  await page.reload();
  expect(await theme()).toBe("dark");
});

test("a lost engine and a lost gateway are shown, with the age of what is shown, and both come back", async () => {
  await show("now");
  await robot.stopEngine();
  await page.getByText("The engine does not answer.").waitFor();
  await page.getByText(/What you see is \d+ s old/).waitFor();
  await robot.startEngine();
  await page.getByRole("status").getByText("live").waitFor();
  await robot.killGateway();
  await page.getByText("Connection lost.").waitFor();
  // STOP says that it has reached nobody.
  await page.getByRole("button", { name: "STOP" }).tap();
  await page.getByText(/STOP is not confirmed/).waitFor();
  await robot.startGateway();
  await page.getByRole("status").getByText("live").waitFor();
  // It was tried again meanwhile, until it was confirmed.
  await page.getByText("Stopped since").waitFor();
  await robot.reset();
  await page.getByText("Stopped since").waitFor({ state: "detached" });
});

test("no request has left the origin, and nothing has broken the page's policy", () => {
  const origins = new Set(browser.requests.filter((url) => !/^(blob|data):/.test(url)).map((url) => new URL(url).host));
  expect([...origins]).toEqual([new URL(robot.url).host]);
  expect(browser.complaints).toEqual([]);
});
