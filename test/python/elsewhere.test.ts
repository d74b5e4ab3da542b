/** `task_engine.py worker`: tasks of Python on another machine, which nobody but their own process watches there. */
import { expect, setDefaultTimeout } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Client, connect } from "../../src/client/client.ts";
import { writeCertificate } from "../../src/security/certificate.ts";
import { makeKeyPair } from "../../src/security/keys.ts";
import { test } from "../support/concurrent.ts";
import { until } from "../support/connections.ts";
import { type Engine, oneWorker, startEngine } from "../support/engine.ts";
import { tempFolder } from "../support/temp-folder.ts";

setDefaultTimeout(300_000); // they wait for one another

const grip = `
import os, time
from task_engine import publish, sleep, task

def note(line):
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(line + "\\n")

@task(on_stop=lambda code: note("safe " + code))
def grip(seconds: float):
    note("grips")
    publish("grip/force", 3)
    sleep(seconds)
    return "held"
`;

/** pyzmq is a package of Debian's Python. */
const python = "/usr/bin/python3";

const startWorker = (folder: { at(name: string): string }, engine: Engine, ...flags: readonly string[]) => {
  const program = join(import.meta.dir, "../../src/python/task_engine.py");
  const backend = `tcp://127.0.0.1:${engine.ports.backend}`;
  return Bun.spawn([python, "-B", program, "worker", "--router", backend, ...flags, folder.at("far")], {
    env: { PATH: process.env.PATH ?? "", NOTES: folder.at("notes") },
    stdin: "ignore",
    stdout: "inherit",
    stderr: "inherit",
  });
};

const joined = (client: Client, { pid }: Bun.Subprocess) =>
  until("it has joined", async () => (await client.status()).workers.some((worker) => worker.pid === pid));

test("a worker elsewhere serves its tasks, makes them safe when its router dies, joins again, and leaves by SIGTERM", async () => {
  using folder = tempFolder({ "far/grip.py": grip });
  const noted = (line: string) =>
    until(line, async () => (await Bun.file(folder.at("notes")).text()).split("\n").includes(line));
  await using engine = await startEngine({ flags: oneWorker });
  await using client = connect(engine.endpoint, { waitMs: 30_000 });
  const worker = startWorker(folder, engine, "--key", "none");
  try {
    await joined(client, worker);
    expect(await client.call("grip", [0])).toBe("held");
    const lost = client.call("grip", [60]).catch(({ code }) => code);
    await until("it grips", async () => (await Bun.file(folder.at("notes")).text()) === "grips\ngrips\n");
    const [router = 0] = engine.pidsOf("router");
    process.kill(router, "SIGKILL");
    expect(await lost).toBe("INTERRUPTED");
    await noted("safe INTERRUPTED");
    await joined(client, worker);
    expect(await client.call("grip", [0])).toBe("held");
    worker.kill("SIGTERM");
    expect(await worker.exited).toBe(0);
  } finally {
    worker.kill("SIGKILL");
  }
});

test("with keys a worker elsewhere joins by pyzmq, and one whose key is not admitted does not", async () => {
  using folder = tempFolder({ "far/grip.py": grip, "keys/authorized": "" });
  const keys = folder.at("keys");
  const [own, client_, stranger] = ["robot", "client", "stranger"].map((name) => {
    const pair = makeKeyPair();
    writeCertificate(keys, name, pair, false);
    return pair.publicKey;
  });
  writeCertificate(keys, "engine", makeKeyPair(), false);
  writeFileSync(
    folder.at("keys/authorized"),
    `${own} robot worker write\n${client_} client send read control observe\n`,
  );
  expect(stranger).not.toBe(own);
  const key = (name: string) => ["--key", folder.at(`keys/${name}.key_secret`)];
  const server = ["--server-key", folder.at("keys/engine.key")];
  await using engine = await startEngine({ flags: [...key("engine"), "--task-workers", "1", "--data-workers", "1"] });
  await using client = connect(engine.endpoint, {
    key: folder.at("keys/client.key_secret"),
    serverKey: folder.at("keys/engine.key"),
    waitMs: 30_000,
  });
  const workers = [startWorker(folder, engine, ...key("stranger"), ...server)];
  try {
    const worker = startWorker(folder, engine, ...key("robot"), ...server);
    workers.push(worker);
    await joined(client, worker);
    expect(await client.call("grip", [0])).toBe("held");
    await until("the value is there", async () => (await client.topics("grip/")).length === 1);
    const held = client.call("grip", [60], {}, { timeoutMs: 50 }).catch(({ code }) => code);
    expect(await held).toBe("TIMEOUT");
    expect(await client.call("grip", [0])).toBe("held");
    expect((await client.status()).workers.filter(({ supervised }) => !supervised).map(({ pid }) => pid)).toContain(
      worker.pid,
    );
    expect((await client.status()).workers.map(({ pid }) => pid)).not.toContain(workers[0]?.pid);
    worker.kill("SIGTERM");
    expect(await worker.exited).toBe(0);
  } finally {
    for (const worker of workers) worker.kill("SIGKILL");
  }
});
