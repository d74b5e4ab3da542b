/** A router that has not been running for a while: what has come meanwhile counts before the time that has passed. */
import { expect, setDefaultTimeout } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { connect } from "task-engine";
import { encodeCancel, encodePing, encodeTaskRequest } from "../../../src/protocol/encode-request.ts";
import { ShmClient } from "../../../src/transport/shm/client.ts";
import { ZmqClient } from "../../../src/transport/zmq/client.ts";
import { test } from "../../support/concurrent.ts";
import { until } from "../../support/connections.ts";
import { oneWorker, startEngine } from "../../support/engine.ts";
import { tempFolder } from "../../support/temp-folder.ts";

setDefaultTimeout(300_000); // they wait for one another

const tasks = `
  import { appendFileSync, existsSync } from "node:fs";
  const note = (word) => appendFileSync(import.meta.dir + "/notes", word + "\\n");
  export const task_note = ([word]) => note(word);
  export const task_toil = ([end]) => {
    note("toils");
    while (!existsSync(import.meta.dir + "/" + end)) Bun.sleepSync(5);
  };
  export const task_nap = ([ms]) => Bun.sleep(Number(ms));
`;

test("a router that was halted for longer than a dead man's time, and than a job's, takes what has come meanwhile for that it was in time", async () => {
  using folder = tempFolder({ "tasks/nap.ts": tasks });
  await using engine = await startEngine({ cwd: folder.path });
  await using client = connect(engine.endpoint);
  await client.call("nap", [1]);
  const guarded = client.call("nap", [4_000], {}, { deadmanMs: 800 });
  const limited = client.call("nap", [500], {}, { timeoutMs: 1_500 });
  await Bun.sleep(200);
  const [router = 0] = engine.pidsOf("router");
  process.kill(router, "SIGSTOP");
  await Bun.sleep(2_500);
  process.kill(router, "SIGCONT");
  expect(await limited).toBeNull();
  expect(await guarded).toBeNull();
}, 60_000);

const ways = ["a local connection", "ZeroMQ"] as const;
const jobs = 200;

/** Asks who serves at a port for many jobs, once that has answered and was kept from reading, and gives them up. */
const askAndGiveUp = async (way: (typeof ways)[number], port: number, hinder: () => unknown, isCancelled: boolean) => {
  const link = way === "ZeroMQ" ? new ZmqClient(`tcp://127.0.0.1:${port}`, {}) : ShmClient.to("127.0.0.1", port);
  if (link === null) throw new Error("there is no local socket");
  link.trySend(encodePing({ id: "tester", serial: "ping" }));
  await until("it answers", () => link.tryReceive() !== null);
  await hinder();
  const serials = Array.from({ length: jobs }, (_, index) => `s${index}`);
  for (const serial of serials) link.trySend(encodeTaskRequest({ id: "tester", serial }, "note", ["begun"], {}, {}));
  if (isCancelled) for (const serial of serials) link.trySend(encodeCancel({ id: "tester", serial }));
  else {
    await link.linger(200);
    link.close();
  }
  // libzmq needs a moment to send it.
  await Bun.sleep(200);
  return {
    [Symbol.dispose]: () => {
      link.close();
    },
  };
};

test("what a halted router reads after its requestor has closed the connection, or has cancelled it, does not begin", async () => {
  using folder = tempFolder({ "tasks/note.ts": tasks, "tasks/notes": "" });
  await using engine = await startEngine({ cwd: folder.path });
  await using client = connect(engine.endpoint);
  const [router = 0] = engine.pidsOf("router");
  for (const way of ways) {
    for (const isCancelled of [false, true]) {
      using _ = await askAndGiveUp(way, engine.ports.frontend, () => process.kill(router, "SIGSTOP"), isCancelled);
      process.kill(router, "SIGCONT");
      await client.call("note", ["after"]);
    }
  }
  expect(readFileSync(folder.at("tasks/notes"), "utf8")).toBe("after\n".repeat(2 * ways.length));
  const { jobs: counts } = await client.status();
  expect(counts).toMatchObject({ waiting: 0, held: 0, failed: { CANCELLED: jobs * 2 * ways.length } });
}, 60_000);

test("what a worker reads at its own port after its requestor has closed the connection does not begin, be it that it was halted or busy", async () => {
  using folder = tempFolder({ "tasks/note.ts": tasks, "tasks/notes": "" });
  await using engine = await startEngine({ cwd: folder.path, flags: oneWorker });
  await using client = connect(`tcp://127.0.0.1:${engine.ports.worker}`);
  const [worker = 0] = engine.pidsOf("task worker");
  const notes = (): string => readFileSync(folder.at("tasks/notes"), "utf8");
  const halt = (): void => void process.kill(worker, "SIGSTOP");
  for (const way of ways) {
    const toil = async (): Promise<void> => {
      const before = notes().length;
      void client.call("toil", [`end of ${way}`]);
      await until("it toils", () => notes().length > before);
    };
    for (const hinder of [halt, toil]) {
      using _ = await askAndGiveUp(way, engine.ports.worker, hinder, false);
      process.kill(worker, "SIGCONT");
      if (hinder === toil) writeFileSync(folder.at(`tasks/end of ${way}`), "");
      await client.call("note", ["after"]);
    }
  }
  expect(notes()).toBe(`after\ntoils\nafter\n`.repeat(ways.length));
}, 60_000);
