/**
 * What is measured side by side. Each is started as processes of its own, and is asked over a connection to add two numbers
 * (the echo answers what it is asked), one requestor and two workers everywhere. The requestor is the client that comes with the system,
 * and a bare socket where none does.
 */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { type ConnectOptions, connect, TaskEngineError } from "task-engine";
import { Dealer } from "../../src/transport/zmq/socket.ts";
import { type Engine, startEngine } from "../support/engine.ts";
import { freePorts } from "../support/ports.ts";
import { json, metaFrame, taskFrame } from "../support/raw-requestor.ts";
import type { Ask } from "./measure.ts";

export interface System extends AsyncDisposable {
  readonly ask: Ask;
  /** The processes that serve. */
  readonly pids: readonly number[];
}

export interface Candidate {
  readonly name: string;
  /** Why it cannot be measured here; null if it can. */
  readonly missing: () => string | null;
  readonly start: () => Promise<System>;
}

const here = (name: string): string => join(import.meta.dir, name);
const python = "/usr/bin/python3";

/** The engine's own client. @param args of the task, if it is another than to add two numbers */
export const overClient = (
  endpoint: string,
  pids: readonly number[],
  end: () => Promise<void>,
  [task, args]: readonly [task: string, args: unknown[]] = ["count", [2, 3]],
  options: ConnectOptions = {},
): System => {
  const client = connect(endpoint, options);
  return {
    pids,
    ask: (answered) =>
      void client.call(task, args, {}, { waitMs: Number.POSITIVE_INFINITY }).then(answered, (error) => {
        if (!(error instanceof TaskEngineError) || error.code !== "CLOSED") throw error;
      }),
    [Symbol.asyncDispose]: async () => {
      await client.close();
      await end();
    },
  };
};

/** A requestor that speaks the engine's frames, with answers in any order. */
const overZmq = (endpoint: string, pids: readonly number[], end: () => Promise<void>): System => {
  const task = taskFrame([2, 3]);
  const dealer = new Dealer({ sendHighWaterMark: 16_384, receiveHighWaterMark: 16_384 });
  dealer.connect(endpoint);
  const waiting = new Map<string, () => void>();
  let count = 0;
  dealer.onReadable(() => {
    for (let message = dealer.tryReceive(); message !== null; message = dealer.tryReceive()) {
      const { serial } = JSON.parse(String(message[1]));
      const answered = waiting.get(serial);
      waiting.delete(serial);
      answered?.();
    }
  });
  return {
    pids,
    ask: (answered) => {
      const serial = String(++count);
      waiting.set(serial, answered);
      dealer.trySend(["", metaFrame({ version: 0.2, serial }), task]);
    },
    [Symbol.asyncDispose]: async () => {
      dealer.close();
      await end();
    },
  };
};

const processes = (
  ...commands: readonly string[][]
): { end: () => Promise<void>; first: Bun.Subprocess<"ignore", "pipe">; pids: number[] } => {
  const children = commands.map((command) =>
    Bun.spawn(command, { stdin: "ignore", stdout: "pipe", stderr: "inherit" }),
  );
  const [first] = children;
  if (first === undefined) throw new Error("no command");
  return {
    first,
    pids: children.map(({ pid }) => pid),
    end: async () => {
      for (const child of children) child.kill("SIGKILL");
      await Promise.all(children.map(({ exited }) => exited));
    },
  };
};

/** The processes of an engine that have to do with a task. */
const servingPids = (running: Engine): number[] => [...running.pidsOf("router"), ...running.pidsOf("task worker")];

export const engine: Candidate = {
  name: "Task Engine",
  missing: () => null,
  start: async () => {
    const running = await startEngine();
    return overClient(running.endpoint, servingPids(running), () => running[Symbol.asyncDispose]());
  },
};

const overPort: Candidate = {
  name: "Task Engine, over a ZeroMQ socket",
  missing: () => null,
  start: async () => {
    const running = await startEngine();
    return overZmq(running.endpoint, servingPids(running), () => running[Symbol.asyncDispose]());
  },
};

const direct: Candidate = {
  name: "Task Engine, straight to a worker",
  missing: () => null,
  start: async () => {
    const running = await startEngine();
    const endpoint = `tcp://127.0.0.1:${running.ports.worker}`;
    return overClient(endpoint, servingPids(running), () => running[Symbol.asyncDispose]());
  },
};

export const echo: Candidate = {
  name: "echo over the same sockets",
  missing: () => null,
  start: async () => {
    const port = freePorts(1);
    const { first, pids, end } = processes([process.execPath, here("echo.ts"), String(port)]);
    await first.stdout.getReader().read();
    return overZmq(`tcp://127.0.0.1:${port}`, pids, end);
  },
};

const pyzmq: Candidate = {
  name: "pyzmq router and workers",
  missing: () =>
    existsSync(python) && Bun.spawnSync([python, "-c", "import zmq"]).success ? null : "python3-zmq is not installed",
  start: async () => {
    const port = freePorts(2);
    const script = [python, here("pyzmq_engine.py")];
    const worker = [...script, "worker", String(port + 1)];
    const { pids, end } = processes([...script, "router", String(port), String(port + 1)], worker, worker);
    return overZmq(`tcp://127.0.0.1:${port}`, pids, end);
  },
};

/** Its npm client is no dependency of this project: it is looked for in the folder that BENCH_MODULES names. */
const natsModule = (): string | null => {
  try {
    return createRequire(join(process.env.BENCH_MODULES ?? here("."), "x.js")).resolve("nats");
  } catch {
    return null;
  }
};

const nats: Candidate = {
  name: "NATS request and reply",
  missing: () => {
    if (Bun.which("nats-server") === null) return "nats-server is not installed";
    return natsModule() === null ? "npm's nats is not in BENCH_MODULES" : null;
  },
  start: async () => {
    const port = freePorts(1);
    const url = `127.0.0.1:${port}`;
    const module = natsModule() ?? "nats";
    const worker = [process.execPath, here("nats-worker.ts"), module, url];
    const { pids, end } = processes(
      ["nats-server", "-a", "127.0.0.1", "-p", String(port), "-l", "/dev/null"],
      worker,
      worker,
    );
    const { connect } = await import(module);
    const connection = await connect({ servers: url, waitOnFirstConnect: true, reconnectTimeWait: 20 });
    const task = json({ task: "count", args: [2, 3], kwargs: {}, pack: 1 });
    // Until a worker answers.
    for (let tries = 0; tries < 100; tries++) {
      const isThere = await connection.request("count", task, { timeout: 100 }).then(
        () => true,
        () => false,
      );
      if (isThere) break;
      // As long as nobody listens, that is said at once.
      await Bun.sleep(20);
    }
    return {
      pids,
      ask: (answered) => connection.request("count", task, { timeout: 30_000 }).then(answered),
      [Symbol.asyncDispose]: async () => {
        await connection.close();
        await end();
      },
    };
  },
};

export const candidates: readonly Candidate[] = [engine, direct, overPort, echo, pyzmq, nats];
