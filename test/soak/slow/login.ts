/** HTTPS with a pair as GATEWAY.md makes it, and a person who logs in by the page in a real Chromium. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import type { Page } from "playwright-core";
import { digestOf, newToken } from "../../../src/gateway/tokens.ts";
import { type Browser, startBrowser } from "../../support/browser.ts";
import { type Engine, runCommand, startEngine } from "../../support/engine.ts";
import { freePorts } from "../../support/ports.ts";
import { type TempFolder, tempFolder } from "../../support/temp-folder.ts";

setDefaultTimeout(240_000);

const token = newToken();
const port = freePorts(1);
const url = `https://127.0.0.1:${port}`;
let folder: TempFolder;
let engine: Engine;
let browser: Browser;
let page: Page;
beforeAll(async () => {
  folder = tempFolder({ tokens: `${digestOf(token)} anna send read observe control\n` });
  chmodSync(folder.at("tokens"), 0o600);
  const manual = readFileSync(new URL("../../../src/gateway/GATEWAY.md", import.meta.url), "utf8");
  const [command = ""] = /^openssl req .*$/m.exec(manual) ?? [];
  const made = await runCommand(["sh", "-c", command], [], { cwd: folder.path, env: { PATH: process.env.PATH ?? "" } });
  expect(made.exitCode).toBe(0);
  const http = ["--http", `${port}`, "--tokens", "tokens", "--tls-cert", "cert.pem", "--tls-key", "key.pem"];
  // The page follows the engine by a data worker.
  engine = await startEngine({ cwd: folder.path, flags: ["--task-workers", "1", ...http] });
  await engine.line(/\[GATEWAY\] https/);
  browser = await startBrowser();
  page = await browser.open(url, { ignoreHTTPSErrors: true });
});
afterAll(async () => {
  await browser?.[Symbol.asyncDispose]();
  await engine?.[Symbol.asyncDispose]();
  folder?.[Symbol.dispose]();
});

const ask = (path: string, headers: Record<string, string> = {}, tls: object = { rejectUnauthorized: false }) =>
  fetch(`${url}${path}`, { headers, tls } as RequestInit);

test("a client that trusts the pair is served, one that does not is not, and plain HTTP gets nothing", async () => {
  const ca = readFileSync(folder.at("cert.pem"), "utf8");
  const options = { ca, checkServerIdentity: () => undefined };
  expect((await ask("/api/status", { Authorization: `Bearer ${token}` }, options)).status).toBe(200);
  await expect(ask("/healthz", {}, {})).rejects.toThrow();
  await expect(fetch(`http://127.0.0.1:${port}/healthz`)).rejects.toThrow();
});

test("a wrong token that is typed is refused late, and delays nobody who has one", async () => {
  await page.getByLabel("Token").fill("te_wrong");
  await page.getByRole("button", { name: "Log in" }).click();
  const refused = page.getByText("the token is not valid").waitFor();
  expect((await ask("/api/tasks", { Authorization: `Bearer ${token}` })).status).toBe(200);
  await refused;
  expect(await page.context().cookies()).toEqual([]);
});

test("the token that is typed becomes a cookie that no script reads, holds over a reload, and ends by logging out", async () => {
  await page.getByLabel("Token").fill(token);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByRole("status").getByText("live").waitFor();
  const [cookie] = await page.context().cookies();
  expect(cookie).toMatchObject({ value: token, httpOnly: true, sameSite: "Strict", secure: true });
  expect(await page.evaluate("document.cookie + JSON.stringify(localStorage)")).not.toContain(token);
  await page.reload();
  await page.getByRole("status").getByText("live").waitFor();
  await page.getByRole("button", { name: "anna: log out" }).click();
  await page.getByLabel("Token").waitFor();
  expect(await page.context().cookies()).toEqual([]);
  expect((await page.request.get(`${url}/api/status`)).status()).toBe(401);
});

test("a token whose line is deleted ends what its owner looks at", async () => {
  await page.getByLabel("Token").fill(token);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByRole("status").getByText("live").waitFor();
  writeFileSync(folder.at("tokens"), "");
  await page.getByLabel("Token").waitFor();
});
