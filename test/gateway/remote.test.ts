/** A gateway with a key of its own, as from another machine: it asks for persons, and for nobody else. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { appendFileSync } from "node:fs";
import { oneWorker, runCommand, startEngine } from "../support/engine.ts";
import { taskEngine } from "../support/executable.ts";
import { freePorts } from "../support/ports.ts";
import { tempFolder } from "../support/temp-folder.ts";

setDefaultTimeout(120_000);

interface Started extends AsyncDisposable {
  readonly url: string;
}

test("an engine with keys serves persons by a key with `delegate`, and without tokens nobody", async () => {
  using home = tempFolder();
  const env = { PATH: process.env.PATH ?? "", HOME: home.path };
  const run = (...args: string[]) => runCommand(taskEngine, args, { env });
  const keys = ["--dir", home.path];
  await run("keygen", "engine", ...keys);
  for (const [name, rights] of [
    ["near", "delegate send"],
    ["plain", "send"],
  ] as const) {
    const { stdout } = await run("keygen", name, ...keys, "--rights", rights);
    appendFileSync(home.at("authorized"), stdout);
  }
  const { stdout, stderr } = await run("token", "anna", "send:count", "control", "--tokens", home.at("tokens"));
  const token = stdout.trim();
  expect(stderr).not.toContain(token);
  expect(await run("token", "anna", "send", "--tokens", home.at("tokens"))).toMatchObject({ exitCode: 1, stdout: "" });
  await using engine = await startEngine({ env, flags: [...oneWorker, "--key", home.at("engine.key_secret")] });

  const start = async (...flags: string[]): Promise<Started> => {
    const port = freePorts(1);
    const command = [...taskEngine, "gateway", "--router", engine.endpoint, "--http", `${port}`, ...flags];
    const child = Bun.spawn(command, { env, stdin: "ignore", stdout: "pipe", stderr: "inherit" });
    await child.stdout.getReader().read();
    const dispose = async (): Promise<void> => {
      child.kill();
      expect(await child.exited).toBe(0);
    };
    return { url: `http://127.0.0.1:${port}`, [Symbol.asyncDispose]: dispose };
  };
  const ask = async ({ url }: Started, path: string): Promise<unknown> => {
    const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
    return (await fetch(`${url}${path}`, { method: "POST", headers, body: '{"args":[2,3]}' })).json();
  };
  const withKey = (name: string) => [
    ...["--tokens", home.at("tokens"), "--server-key", home.at("engine.key")],
    ...["--key", home.at(`${name}.key_secret`)],
  ];
  {
    await using near = await start(...withKey("near"));
    expect(await ask(near, "/api/tasks/count")).toEqual({ data: 5 });
    expect(await ask(near, "/api/tasks/drive")).toMatchObject({ message: "client anna lacks the right send:drive" });
    expect(await ask(near, "/api/reset")).toMatchObject({ message: "client near lacks the right control" });
  }
  {
    await using plain = await start(...withKey("plain"));
    expect(await ask(plain, "/api/reset")).toMatchObject({ message: "client plain lacks the right delegate" });
  }
  {
    // Its owner could get in by the engine's socket, but everybody who reaches this gateway would.
    await using open = await start("--state", engine.state);
    expect(await ask(open, "/api/tasks/count")).toMatchObject({ code: "NO_ANSWER" });
  }
});
