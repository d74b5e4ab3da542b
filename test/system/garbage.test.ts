/** Nonsense between router and workers: whoever gets it survives, and says so once, not once a message. */
import { expect, test } from "bun:test";
import { encodeBackend } from "../../src/protocol/backend.ts";
import { Dealer, Router } from "../../src/transport/zmq/socket.ts";
import { oneWorker, startEngine } from "../support/engine.ts";
import { runProgram } from "../support/program.ts";
import { taskFrame } from "../support/raw-requestor.ts";
import { tempFolder } from "../support/temp-folder.ts";

const nonsense = [
  "",
  "hello",
  "[]",
  "null",
  "{}",
  '{"type":"DANCE"}',
  '{"type":"DONE","jobs":[1],"ms":[]}',
  "\xff\xfe",
];
const textOf = (frame: Buffer | undefined): string => Buffer.from(frame ?? []).toString();
const rounds = 200;
const limitMs = 60_000;

test(
  "a router to which a worker sends garbage serves on, says so once and counts it",
  async () => {
    await using engine = await startEngine();
    using worker = new Dealer({ sendHighWaterMark: 100_000 });
    worker.connect(`tcp://127.0.0.1:${engine.ports.backend}`);
    for (let round = 0; round < rounds; round++) for (const text of nonsense) worker.trySend([text]);
    // By the time that it answers this, it has read all that came before.
    worker.trySend(encodeBackend({ type: "BEAT" }));
    expect((await worker.receive()).map(textOf).join()).toContain("WHO");
    expect((await engine.run("send", "count", "2", "3", "--router", engine.endpoint)).stdout).toBe("5\n");
    const status = JSON.parse((await engine.run("status", "--json", "--router", engine.endpoint)).stdout);
    expect(status.jobs.dropped.workersMessage).toBe(rounds * nonsense.length);
    expect(engine.errorLines.filter((line) => line.includes("Dropped a worker's message"))).toHaveLength(1);
  },
  limitMs,
);

test(
  "nobody is taken for the engine's journal, nor for another process of it, by what he says at the backend port",
  async () => {
    using folder = tempFolder({
      "tasks/notes.ts": "export const task_note = { durable: true, moves: false, run: () => 1 };",
    });
    await using engine = await startEngine({ cwd: folder.path, flags: oneWorker });
    const status = async () => JSON.parse((await engine.run("status", "--json", "--router", engine.endpoint)).stdout);
    const { workers } = await status();
    const own = workers.find(({ role }: { role: string }) => role === "journal");
    const answerTo = async (role: "journal" | "task", id: string): Promise<string> => {
      using poser = new Dealer();
      poser.connect(`tcp://127.0.0.1:${engine.ports.backend}`);
      poser.trySend(
        encodeBackend({ type: "READY", role, id, pid: own.pid, tasks: [], endpoint: "", supervised: true }),
      );
      return (await poser.receive()).map(textOf).join();
    };
    // The real one is there, halted, and then dead.
    for (const signal of ["SIGCONT", "SIGSTOP", "SIGKILL"] as const) {
      process.kill(own.pid, signal);
      expect(await answerTo("journal", own.id)).toContain("REFUSED");
      if (signal === "SIGKILL") continue;
      // A worker with the pid of the journal does not push it out.
      expect(await answerTo("task", "TASK-1")).toContain("WELCOME");
      expect((await status()).workers).toContainEqual(expect.objectContaining({ pid: own.pid, role: "journal" }));
    }
    const sent = await engine.run("send", "--detach", "note", "--router", engine.endpoint);
    expect(sent.stdout).toMatch(/^[a-z2-7]{16}\n$/);
  },
  limitMs,
);

test(
  "a worker to which the router's port sends garbage serves on, and says so once",
  async () => {
    using router = new Router({ sendHighWaterMark: 100_000 });
    router.bind("tcp://127.0.0.1:*");
    await using worker = runProgram(["worker", "--router", router.lastEndpoint]);
    const [id = new Uint8Array()] = await router.receive();
    for (let round = 0; round < rounds; round++) for (const text of nonsense) router.trySend([id, text]);
    router.trySend([id, ...encodeBackend({ type: "WELCOME" })]);
    router.trySend([id, ...encodeBackend({ type: "JOBS", jobs: [7], serials: ["s"] }, [taskFrame([2, 3])])]);
    let answer: Buffer[] = [];
    while (!textOf(answer[1]).includes("DONE")) answer = await router.receive();
    expect(JSON.parse(textOf(answer[2])).data).toBe(5);
    expect(worker.errorLines.filter((line) => line.includes("Dropped a message of the router"))).toHaveLength(1);
  },
  limitMs,
);
