/**
 * A real Chromium for tests of the page, Debian's: `await using browser = await startBrowser()`. It
 * notes all that it asks for, and whatever a page complains of.
 */
import { type BrowserServer, chromium, type Page, type Browser as PlaywrightBrowser } from "playwright-core";

/** As phones have it, in CSS px. */
export const phone = { width: 390, height: 844 };

/** Of the page. */
export const views = ["now", "tasks", "jobs", "data", "log", "drive"] as const;

/** ms. Nothing takes as long, not even on a busy machine; a test that gets there has failed. */
const patienceMs = 60_000;

const executablePath = Bun.which("chromium");

/** Its own sandbox needs what root in a container does not have; it opens nothing but our own page. */
const flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--renderer-process-limit=1"];

export class Browser implements AsyncDisposable {
  /** URLs of all requests of all pages. */
  readonly requests: string[] = [];
  /** Uncaught errors, and what the page's policy has refused. */
  readonly complaints: string[] = [];
  readonly #browser: PlaywrightBrowser;
  readonly #server: BrowserServer;

  constructor(server: BrowserServer, browser: PlaywrightBrowser) {
    this.#server = server;
    this.#browser = browser;
  }

  /** A page of a phone, with nothing remembered. */
  async open(url: string, options: Parameters<PlaywrightBrowser["newContext"]>[0] = {}): Promise<Page> {
    const context = await this.#browser.newContext({ viewport: phone, hasTouch: true, ...options });
    context.setDefaultTimeout(patienceMs);
    const page = await context.newPage();
    page.on("request", (request) => this.requests.push(request.url()));
    page.on("websocket", (socket) => this.requests.push(socket.url()));
    page.on("pageerror", (error) => this.complaints.push(error.stack ?? error.message));
    page.on("console", (message) => {
      if (/Content Security Policy|Trusted/.test(message.text())) this.complaints.push(message.text());
    });
    await page.goto(url);
    return page;
  }

  /** False after `kill`. */
  get isThere(): boolean {
    return this.#browser.isConnected();
  }

  /** Its end by SIGKILL, all of its processes at once. Resolves once that is known here: `isThere` is false. */
  async kill(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#browser.once("disconnected", () => resolve());
    const { pid } = this.#server.process();
    // It leads a process group of its own.
    if (pid !== undefined) process.kill(-pid, "SIGKILL");
    await promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.kill();
  }
}

/** Throws Error that names the package where there is no Chromium. */
export const startBrowser = async (): Promise<Browser> => {
  if (executablePath === null) throw new Error("tests of the page need Chromium: apt install chromium");
  const server = await chromium.launchServer({ executablePath, args: flags, timeout: patienceMs });
  return new Browser(server, await chromium.connect(server.wsEndpoint()));
};
