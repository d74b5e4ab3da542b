/** axe-core looks at the page as a screen reader and an eye in the sun have it: in each view, light and dark. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Page } from "playwright-core";
import { startBrowser, views } from "../../support/browser.ts";
import { PageRobot } from "../../support/page-robot.ts";

setDefaultTimeout(240_000);

const axe = readFileSync(fileURLToPath(import.meta.resolve("axe-core/axe.min.js")), "utf8");

/** With a contrast of 7 : 1, which is no rule of axe-core's own choice. */
const rules = { rules: { "color-contrast-enhanced": { enabled: true } } };
const colourRules = { runOnly: ["color-contrast", "color-contrast-enhanced"] };

/** Rules that the page breaks, each with where. */
const findings = async (page: Page, options: object): Promise<string[]> => {
  await page.evaluate(axe);
  return page.evaluate(`axe.run(${JSON.stringify(options)}).then(({ violations }) =>
    violations.map(({ id, nodes }) => id + ": " + nodes.map(({ html }) => html).join(" | ")))`);
};

test("axe-core finds nothing in any view, in light and dark, stopped and not", async () => {
  await using robot = await PageRobot.start();
  await using browser = await startBrowser();
  const page = await browser.open(robot.url, { colorScheme: "light" });
  const look = async (theme: "light" | "dark"): Promise<void> => {
    await page.emulateMedia({ colorScheme: theme });
    for (const view of views) {
      await page.getByRole("link", { name: new RegExp(`^${view}$`, "i") }).click();
      if (view === "tasks") await page.getByText("add", { exact: true }).click();
      if (view === "data") await page.getByRole("checkbox", { name: /^arm.angle/ }).check();
      if (view === "data") await page.getByRole("img", { name: "Plot of arm/angle" }).waitFor();
      if (view === "jobs") await page.locator("summary", { hasText: "fail" }).click();
      const found = await findings(page, theme === "light" ? rules : colourRules);
      expect({ view, theme, found }).toEqual({ view, theme, found: [] });
    }
  };
  await page.getByRole("status").getByText("live").waitFor();
  await robot.call("fail");
  await look("light");
  await page.getByRole("button", { name: "STOP" }).tap();
  await page.getByText("Stopped since").waitFor();
  await look("dark");
});
