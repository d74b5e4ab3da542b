/** Nonsense between router and workers: whoever gets it survives, and says so once, not once a message. */
import { expect, test } from "bun:test";
import { encodeBackend } from "../../src/protocol/backend.ts";
import { Dealer, Router } from "../../src/transport/zmq/socket.ts";
import { startEngine } from "../support/engine.ts";
import { runProgram } from "../support/program.ts";
import { taskFrame } from "../support/raw-requestor.ts";

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
