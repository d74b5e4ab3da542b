/** The API of the gateway over real HTTP, and who may use it: one engine for all of it. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { appendFileSync, readFileSync } from "node:fs";
import { createConnection } from "node:net";
import { connect } from "../../src/client/client.ts";
import { digestOf, newToken } from "../../src/gateway/tokens.ts";
import { type Asked, type Served, startServed } from "../support/gateway.ts";
import { fuzz } from "../support/gateway-fuzz.ts";

setDefaultTimeout(60_000);

const tasks = `
import { appendFileSync } from "node:fs";
export const task_picture = () => ({ contentType: "image/png", bytes: new Uint8Array([137, 80, 78, 71]) });
export const task_wait = {
  moves: false,
  run: async (_args, _kwargs, { signal }) => {
    appendFileSync("begun", ".");
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    appendFileSync("cancelled", ".");
  },
};
export const task_guarded = { deadmanMs: 300, run: () => 1 };
`;

const persons = {
  anna: "send read write observe control manage",
  bob: "send:count read:cam/",
};

let served: Served;
beforeAll(async () => {
  served = await startServed({ "tasks/robot.ts": tasks }, persons);
});
afterAll(async () => {
  await served[Symbol.asyncDispose]();
});

const ask = (method: string, path: string, asked: Asked = {}) =>
  served.ask(method, path, { token: served.tokens.anna ?? "", ...asked });
const askAs = (name: string, method: string, path: string, asked: Asked = {}) =>
  served.ask(method, path, { token: served.tokens[name] ?? "", ...asked });

/** What a browser or an attacker sends, byte by byte; the answer, once the gateway ends the connection. */
const raw = (text: string, thenMs = 20_000): Promise<string> =>
  new Promise((resolve, reject) => {
    const socket = createConnection(served.port, "127.0.0.1", () => socket.write(text));
    let heard = "";
    socket.on("data", (bytes) => {
      heard += bytes;
    });
    socket.on("close", () => resolve(heard));
    socket.on("error", (error: NodeJS.ErrnoException) =>
      error.code === "ECONNRESET" ? resolve(heard) : reject(error),
    );
    setTimeout(() => socket.destroy(), thenMs).unref();
  });

describe("tasks and jobs", () => {
  test("a task runs, and its result, its failure and its bytes come back", async () => {
    expect(await ask("POST", "/api/tasks/count", { body: { args: [2, 3] } })).toMatchObject({
      status: 200,
      json: { data: 5 },
    });
    expect(await ask("POST", "/api/tasks/fly", { body: {} })).toMatchObject({
      status: 404,
      json: { code: "UNKNOWN_TASK" },
    });
    expect(await ask("POST", "/api/tasks/count", { body: { args: ["x"] } })).toMatchObject({ status: 500 });
    const picture = await ask("POST", "/api/tasks/picture", { body: {} });
    expect(picture.headers.get("content-type")).toBe("image/png");
    expect(picture.headers.get("content-security-policy")).toContain("sandbox");
  });

  test("a task with a dead man is refused before it begins, and told how it is done", async () => {
    for (const [task, options] of [
      ["guarded", {}],
      ["wait", { deadmanMs: 300 }],
    ] as const) {
      const { status, json } = await ask("POST", `/api/tasks/${task}`, { body: { options } });
      expect(status).toBe(400);
      expect(json.message).toContain("/api/drive");
    }
    const { json } = await ask("GET", "/api/tasks");
    expect(json.tasks).toContainEqual(expect.objectContaining({ name: "guarded", deadmanMs: 300 }));
  });

  test("a client that goes away cancels its job", async () => {
    const leaving = new AbortController();
    const asked = ask("POST", "/api/tasks/wait", { body: {}, signal: leaving.signal }).catch(() => "gone");
    for (let left = 500; left > 0; left--) {
      const { json } = await ask("GET", "/api/jobs?task=wait&states=running");
      if (json.jobs.length > 0) break;
      await Bun.sleep(10);
    }
    leaving.abort();
    expect(await asked).toBe("gone");
    for (let left = 500; left > 0; left--) {
      const { json } = await ask("GET", "/api/jobs?task=wait&states=cancelled");
      if (json.jobs.length > 0) return;
      await Bun.sleep(10);
    }
    throw new Error("the job still runs");
  });

  test("a detached job is accepted, found by its id, cancelled, and belongs to the person", async () => {
    const { status, json } = await ask("POST", "/api/tasks/wait", { body: { options: { detach: true } } });
    expect(status).toBe(202);
    expect(await ask("GET", `/api/jobs/${json.job}`)).toMatchObject({
      status: 200,
      json: { task: "wait", requestor: "anna" },
    });
    expect(await askAs("bob", "GET", `/api/jobs/${json.job}`)).toMatchObject({
      status: 403,
      json: { code: "UNAUTHORIZED" },
    });
    expect(await ask("GET", `/api/jobs/${json.job}/result`)).toMatchObject({ status: 202 });
    expect(await ask("POST", `/api/jobs/${json.job}/cancel`)).toMatchObject({ status: 200, json: { cancelled: 1 } });
    expect(await ask("GET", "/api/jobs/nonsense")).toMatchObject({ status: 404, json: { code: "UNKNOWN_JOB" } });
  });

  test("an emergency stop refuses jobs, says who, and ends by a reset", async () => {
    expect(await ask("POST", "/api/estop", { body: { reason: "dog" } })).toMatchObject({
      status: 200,
      json: { stopped: { reason: "dog (by anna)" }, durable: true },
    });
    expect(await ask("POST", "/api/tasks/wait", { body: {} })).toMatchObject({
      status: 409,
      json: { code: "STOPPED" },
    });
    expect(await askAs("bob", "POST", "/api/reset")).toMatchObject({ status: 403 });
    expect(await ask("POST", "/api/reset")).toMatchObject({ status: 200, json: { stopped: null } });
  });
});

describe("data", () => {
  test("a value is put and got as it is, JSON and bytes, with its history", async () => {
    expect(await ask("PUT", "/api/data/arm/left", { body: { angle: 3 } })).toMatchObject({
      status: 200,
      json: { seq: 1 },
    });
    expect((await ask("GET", "/api/data/arm%2Fleft")).json).toEqual({ angle: 3 });
    expect((await ask("GET", "/api/data/arm/left/history")).json.values).toMatchObject([
      { data: { angle: 3 }, seq: 1 },
    ]);
    await fetch(`${served.url}/api/data/cam/front`, {
      method: "PUT",
      headers: { Authorization: `Bearer ${served.tokens.anna}`, "Content-Type": "image/jpeg" },
      body: new Uint8Array([0xff, 0xd8, 0, 1]),
    });
    const picture = await askAs("bob", "GET", "/api/data/cam/front");
    expect(picture.headers.get("content-type")).toBe("image/jpeg");
    expect(picture.headers.get("x-seq")).toBe("1");
    expect(await askAs("bob", "GET", "/api/data/arm/left")).toMatchObject({ status: 403 });
    expect(await askAs("bob", "PUT", "/api/data/cam/front", { body: 1 })).toMatchObject({ status: 403 });
    expect(await ask("GET", "/api/data/nothing")).toMatchObject({ status: 404, json: { code: "UNKNOWN_TOPIC" } });
    expect((await ask("GET", "/api/data?prefix=arm/")).json.topics).toMatchObject([{ topic: "arm/left" }]);
  });

  /** The first bytes of a stream that fit. */
  const streamUntil = async (path: string, token: string, pattern: RegExp): Promise<string> => {
    const response = await fetch(`${served.url}${path}`, { headers: { Authorization: `Bearer ${token}` } });
    let text = "";
    for await (const bytes of response.body ?? []) {
      text += Buffer.from(bytes).toString("latin1");
      if (pattern.test(text)) return text;
    }
    throw new Error(`the stream has ended after ${text}`);
  };

  test("events have the newest value first, those of the engine, and markup of a topic as text", async () => {
    const topic = "<img src=x onerror=alert(1)>";
    await ask("PUT", `/api/data/${encodeURIComponent(topic)}`, { body: "</script>\n\ndata: forged" });
    const path = `/api/events?topic=${encodeURIComponent(topic)}&topic=$engine/stop`;
    const text = await streamUntil(
      path,
      served.tokens.anna ?? "",
      /engine\/stop[\s\S]*onerror|onerror[\s\S]*engine\/stop/,
    );
    const events = text.split("\n\n").filter((event) => event.startsWith("data: "));
    const told = events.map((event) => JSON.parse(event.slice(6)));
    expect(told).toContainEqual(expect.objectContaining({ topic, data: "</script>\n\ndata: forged" }));
    expect(await askAs("bob", "GET", "/api/events?topic=$engine/jobs")).toMatchObject({ status: 403 });
    expect(await askAs("bob", "GET", "/api/events?prefix=")).toMatchObject({ status: 403 });
  });

  test("pictures come as parts, and nothing that is no picture", async () => {
    const token = served.tokens.anna ?? "";
    const text = await streamUntil("/api/stream/cam/front", token, /\xff\xd8..\r\n--task-engine-picture\r\n$/s);
    expect(text).toMatch(/^--task-engine-picture\r\nContent-Type: image\/jpeg\r\nContent-Length: 4\r\n\r\n/);
  });

  test("metrics are as Prometheus takes them, also after jobs", async () => {
    await ask("GET", "/metrics");
    await Bun.sleep(300); // the subscription to events
    await ask("POST", "/api/tasks/count", { body: { args: [1, 1] } });
    let text = "";
    for (let left = 100; left > 0 && !text.includes('task_jobs_total{task="count",code="OK"}'); left--) {
      ({ text } = await ask("GET", "/metrics"));
      await Bun.sleep(20);
    }
    expect(text).toContain('task_engine_task_run_seconds_bucket{task="count",le="+Inf"} 1');
    const open = await ask("GET", "/metrics", { headers: { Accept: "application/openmetrics-text" } });
    expect(open.text).toEndWith("# EOF\n");
    if (Bun.which("promtool") === null) return;
    const { exitCode, stderr } = Bun.spawnSync(["promtool", "check", "metrics"], { stdin: Buffer.from(text) });
    expect({ exitCode, said: stderr.toString() }).toEqual({ exitCode: 0, said: "" });
  });
});

describe("nobody in who should not", () => {
  test("without a token there is no answer but who asks, and a wrong one delays no right one", async () => {
    expect(await served.ask("GET", "/api/status")).toMatchObject({ status: 401, json: { code: "NO_TOKEN" } });
    expect((await served.ask("GET", "/api/me")).json).toEqual({ name: null, rights: null, tokens: true });
    expect((await ask("GET", "/api/me")).json).toMatchObject({ name: "anna" });
    const gateways = served.engine.pidsOf("gateway");
    let isRefused = false;
    const wrong = served.ask("GET", "/api/status", { token: "te_guess" }).finally(() => {
      isRefused = true;
    });
    expect((await ask("GET", "/api/tasks")).status).toBe(200);
    expect(isRefused).toBe(false);
    expect(await wrong).toMatchObject({ status: 401 });
    // A browser's old cookie may say anything to what needs no token.
    expect((await served.ask("GET", "/api/me", { token: "te_guess" })).json).toMatchObject({ name: null });
    await Bun.sleep(700);
    expect(served.engine.pidsOf("gateway")).toEqual(gateways);
  });

  test("a cookie that scripts cannot read stands for a token, and a token in the log for nobody", async () => {
    const { headers, status } = await served.ask("POST", "/api/login", { body: { token: served.tokens.bob } });
    expect(status).toBe(200);
    const cookie = headers.get("set-cookie") ?? "";
    expect(cookie).toMatch(/; HttpOnly; SameSite=Strict; Path=\//);
    const mine = { Cookie: cookie.split(";")[0] ?? "" };
    expect((await served.ask("GET", "/api/me", { headers: mine })).json).toMatchObject({ name: "bob" });
    expect(await served.ask("POST", "/api/login", { body: { token: "te_x" } })).toMatchObject({ status: 401 });
    const log = [...served.engine.lines, ...served.engine.errorLines].join("\n");
    for (const token of Object.values(served.tokens)) {
      expect(log).not.toContain(token);
      expect(readFileSync(served.tokensPath, "utf8")).not.toContain(token);
    }
  });

  test("a token counts as soon as its line is there", async () => {
    const token = newToken();
    appendFileSync(served.tokensPath, `${digestOf(token)} carl read\n`);
    for (let left = 300; left > 0; left--) {
      const { json } = await served.ask("GET", "/api/me", { token });
      if (json.name === "carl") return;
      await Bun.sleep(20);
    }
    throw new Error("the token is not taken");
  });

  test.each([
    ["a page of another site", { Origin: "http://evil.example" }],
    ["a page on another port of this machine", { Origin: "http://127.0.0.1:1" }],
    ["a page of this host by another scheme", { Origin: "https://127.0.0.1" }],
    ["a frame without an origin", { Origin: "null" }],
    ["a picture on another site's page", { "Sec-Fetch-Site": "cross-site" }],
    ["a name that was rebound to this machine", { Host: "evil.example" }],
    ["a name that only begins as ours", { Host: "localhost.evil.example" }],
  ])("%s is refused, whatever cookie comes with it", async (_, headers) => {
    for (const [method, path] of [
      ["POST", "/api/estop"],
      ["GET", "/api/status"],
      ["GET", "/api/drive"],
      ["GET", "/"],
    ] as const) {
      const { status, json } = await ask(method, path, { headers });
      expect({ status, code: json.code }).toEqual({ status: 403, code: "WRONG_ORIGIN" });
    }
  });

  test("a WebSocket from another origin does not open, and one of our own does", async () => {
    const open = (origin: string): Promise<boolean> =>
      new Promise((resolve) => {
        const headers = { Origin: origin, Authorization: `Bearer ${served.tokens.anna}` };
        const socket = new WebSocket(`ws://127.0.0.1:${served.port}/api/drive`, { headers });
        socket.onopen = () => {
          socket.close();
          resolve(true);
        };
        socket.onerror = () => resolve(false);
      });
    expect(await open("http://evil.example")).toBe(false);
    expect(await open(served.url)).toBe(true);
  });

  test("a form of another site has no type that is taken", async () => {
    for (const type of ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]) {
      const headers = { "Content-Type": type };
      expect(await ask("POST", "/api/tasks/count", { headers, body: { args: [1, 2] } })).toMatchObject({ status: 400 });
    }
  });

  test("paths lead to nothing but the routes", async () => {
    for (const path of [
      "/api/../etc/passwd",
      "/..%2f..%2fetc/passwd",
      "//etc/passwd",
      "/api/tasks/%00",
      "/page/app.tsx",
    ]) {
      const { status } = await ask("GET", path);
      expect([400, 404, 405]).toContain(status);
    }
    expect(await ask("GET", "/api/data/%ff")).toMatchObject({ status: 400, json: { code: "BAD_FRAME" } });
    expect(await ask("DELETE", "/api/estop")).toMatchObject({ status: 405, json: { code: "WRONG_METHOD" } });
    expect(await raw("GET /etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).toContain("404");
  });

  test("bodies that are too large, no JSON or no object are refused", async () => {
    const large = "x".repeat(3 * 1024 * 1024);
    expect(await ask("POST", "/api/tasks/count", { body: { args: [large] } })).toMatchObject({ status: 413 });
    expect(await ask("POST", "/api/tasks/count", { body: [1] })).toMatchObject({ status: 400 });
    const headers = { "Content-Type": "application/json", "Content-Length": "999999999999" };
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    expect(await raw(`POST /api/login HTTP/1.1\r\nHost: localhost\r\n${lines.join("")}\r\n{`)).toMatch(/ 413 |^$/);
  });

  test("a flood of headers is cut", async () => {
    const flood = Array.from({ length: 3_000 }, (_, index) => `X-${index}: ${"y".repeat(20)}\r\n`).join("");
    expect(await raw(`GET /api/me HTTP/1.1\r\nHost: localhost\r\n${flood}\r\n`)).toMatch(/ 431 |^$/);
  });

  test("answers are no page's: types are not guessed, and nothing is kept or framed", async () => {
    for (const path of ["/api/status", "/", "/openapi.json"]) {
      const { headers } = await ask("GET", path);
      expect(headers.get("x-content-type-options")).toBe("nosniff");
      expect(headers.get("content-security-policy")).toContain("default-src 'none'");
      expect(headers.get("access-control-allow-origin")).toBeNull();
    }
  });
});

describe("its own description", () => {
  test("lists exactly the routes that are served, and each answers as it says", async () => {
    const { json } = await served.ask("GET", "/openapi.json");
    expect(json.openapi).toStartWith("3.1");
    const table = readFileSync(new URL("../../src/gateway/GATEWAY.md", import.meta.url), "utf8");
    const documented = [...table.matchAll(/^\| `(GET|POST|PUT) (\/[^`]*)`/gm)].map(
      ([, method, path]) => `${method} ${path}`,
    );
    const served_ = Object.entries<Record<string, unknown>>(json.paths).flatMap(([path, operations]) =>
      Object.keys(operations).map(
        (method) => `${method.toUpperCase()} ${path.replace(/\{(\w+)\}/g, (_, name) => name.toUpperCase())}`,
      ),
    );
    expect(served_.sort()).toEqual(documented.filter((route) => route !== "GET /").sort());
    // Without a token each route that needs one says so: it is there, whatever its parameters are.
    for (const [path, operations] of Object.entries<Record<string, { security: unknown[] }>>(json.paths)) {
      for (const [method, { security }] of Object.entries(operations)) {
        const { status } = await served.ask(method.toUpperCase(), path.replace(/\{\w+\}/g, "x"));
        expect(`${method} ${path} ${security.length === 0 || status === 401}`).toBe(`${method} ${path} true`);
      }
    }
  });

  test("nothing that fits or does not fit it makes the gateway fail", async () => {
    await fuzz(served, served.tokens.anna ?? "", { rounds: 8, seed: 7 });
  });
});

test("the gateway gives way to the robot's own processes", () => {
  const nicenessOf = (pid = 0): string =>
    readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ")[16] ?? "";
  expect(nicenessOf(served.engine.pidsOf("gateway")[0])).toBe("10");
  expect(nicenessOf(served.engine.pidsOf("router")[0])).toBe(nicenessOf(process.pid));
});

test("the robot does not notice that its gateway is killed, and the gateway comes back", async () => {
  await using engine = connect(served.engine.endpoint, { state: served.engine.state, key: "none" });
  const [pid = 0] = served.engine.pidsOf("gateway");
  process.kill(pid, "SIGKILL");
  expect(await engine.call("count", [1, 2])).toBe(3);
  for (let left = 1000; left > 0; left--) {
    const isBack = await served.ask("GET", "/healthz").then(
      ({ status }) => status === 200,
      () => false,
    );
    if (isBack) break;
    await Bun.sleep(10);
  }
  expect(await ask("POST", "/api/tasks/count", { body: { args: [2, 3] } })).toMatchObject({ json: { data: 5 } });
});
