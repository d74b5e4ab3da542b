/** A real nats-server for a test, with JetStream: `await using hub = await startHub()`. */
import { existsSync } from "node:fs";
import { freePorts } from "./ports.ts";
import { tempFolder } from "./temp-folder.ts";

const program = "/usr/sbin/nats-server";

/** Debian's package `nats-server`; where it is missing its tests are left out, except in continuous integration. */
export const lacksNats = !existsSync(program) && process.env.CI === undefined;

export interface Hub extends AsyncDisposable {
  readonly port: number;
  /** `nats://127.0.0.1:PORT` */
  readonly url: string;
  /** Kills it; `start` brings it back at the same port, with what it has stored. */
  kill(): Promise<void>;
  start(): Promise<void>;
}

/** @param config lines of its file of settings, beside port and storage */
export const startHub = async (config = "jetstream: enabled"): Promise<Hub> => {
  const port = freePorts(1);
  const folder = tempFolder();
  await Bun.write(folder.at("nats.conf"), `${config}\nstore_dir: ${JSON.stringify(folder.at("store"))}\n`);
  let server: Bun.Subprocess | null = null;
  const start = async (): Promise<void> => {
    const flags = ["--config", folder.at("nats.conf"), "--addr", "127.0.0.1", "--port", `${port}`];
    server = Bun.spawn([program, ...flags], { stdin: "ignore", stdout: "ignore", stderr: "ignore" });
    while (!(await isOpen(port))) {
      if (server.exitCode !== null) throw new Error(`nats-server ended with ${server.exitCode}`);
      await Bun.sleep(10);
    }
  };
  const kill = async (): Promise<void> => {
    server?.kill("SIGKILL");
    await server?.exited;
  };
  await start();
  const dispose = async (): Promise<void> => {
    await kill();
    folder[Symbol.dispose]();
  };
  return { port, url: `nats://127.0.0.1:${port}`, kill, start, [Symbol.asyncDispose]: dispose };
};

const isOpen = async (port: number): Promise<boolean> => {
  try {
    (await Bun.connect({ hostname: "127.0.0.1", port, socket: { data: () => undefined } })).end();
    return true;
  } catch {
    return false;
  }
};
