/** An engine with its gateway, for tests: `await using served = await startServed(...)`. */
import { writeFileSync } from "node:fs";
import { digestOf, newToken } from "../../src/gateway/tokens.ts";
import { type Engine, startEngine } from "./engine.ts";
import { freePorts } from "./ports.ts";
import { tempFolder } from "./temp-folder.ts";

export interface Asked {
  readonly token?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  readonly body?: unknown;
  readonly signal?: AbortSignal;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** Of an answer in JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: a test looks into it
  readonly json: any;
}

export interface Served extends AsyncDisposable {
  readonly engine: Engine;
  readonly url: string;
  readonly port: number;
  /** By the person's name. */
  readonly tokens: Readonly<Record<string, string>>;
  readonly tokensPath: string;
  readonly ask: (method: string, path: string, asked?: Asked) => Promise<Answer>;
}

/** @param persons rights by name; without any the gateway needs no token */
export const startServed = async (
  files: Readonly<Record<string, string>>,
  persons: Readonly<Record<string, string>> = {},
  flags: readonly string[] = ["--task-workers", "1"],
): Promise<Served> => {
  const folder = tempFolder({ "tasks/none.ts": "export {};", ...files });
  const tokens = Object.fromEntries(Object.keys(persons).map((name) => [name, newToken()]));
  const tokensPath = folder.at("tokens");
  const lines = Object.entries(persons).map(([name, rights]) => `${digestOf(tokens[name] ?? "")} ${name} ${rights}\n`);
  writeFileSync(tokensPath, lines.join(""), { mode: 0o600 });
  const port = freePorts(1);
  const http = ["--http", `${port}`, ...(lines.length === 0 ? [] : ["--tokens", tokensPath])];
  const engine = await startEngine({ cwd: folder.path, flags: [...flags, ...http] });
  await engine.line(/\[GATEWAY\] http/);
  const url = `http://127.0.0.1:${port}`;
  const ask = async (
    method: string,
    path: string,
    { token, headers = {}, body, signal }: Asked = {},
  ): Promise<Answer> => {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: {
        ...(token !== undefined && { Authorization: `Bearer ${token}` }),
        ...(body !== undefined && { "Content-Type": "application/json" }),
        ...headers,
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      ...(signal !== undefined && { signal }),
    });
    const text = await response.text();
    const isJson = (response.headers.get("content-type") ?? "").startsWith("application/json");
    return { status: response.status, headers: response.headers, text, json: isJson ? JSON.parse(text) : null };
  };
  const dispose = async (): Promise<void> => {
    using _ = folder;
    await engine[Symbol.asyncDispose]();
  };
  return { engine, url, port, tokens, tokensPath, ask, [Symbol.asyncDispose]: dispose };
};
