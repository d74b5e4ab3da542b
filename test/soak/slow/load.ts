/** The whole engine with much to do, while parts of it die. */
import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { historyBytesMax } from "../../../src/limits.ts";
import { Subscriber } from "../../../src/transport/zmq/socket.ts";
import { Asker } from "../../support/asker.ts";
import { startCommand } from "../../support/command.ts";
import { startEngine } from "../../support/engine.ts";
import { dealerTo, json, metaFrame, requestTo, taskFrame } from "../../support/raw-requestor.ts";
import { recordToml, robotTasks } from "../../support/robot-tasks.ts";
import { tempFolder } from "../../support/temp-folder.ts";

const limitMs = 60_000;

test(
  "200 requestors at once, REQ and DEALER, each get their own answer",
  async () => {
    await using engine = await startEngine();
    const ask = async (index: number): Promise<unknown> => {
      using requestor = index % 2 === 0 ? requestTo(engine.endpoint) : dealerTo(engine.endpoint);
      const frames = [metaFrame({ version: 0.2, serial: `s-${index}` }), taskFrame([index, 1000])];
      requestor.send(...(index % 2 === 0 ? frames : ["", ...frames]));
      const { meta, data } = await requestor.reply();
      return [meta.serial, data];
    };
    const answers = await Promise.all(Array.from({ length: 200 }, (_, index) => ask(index)));
    expect(answers).toEqual(Array.from({ length: 200 }, (_, index) => [`s-${index}`, index + 1000]));
  },
  limitMs,
);

test(
  "10,000 jobs of one client wait and run at the same time, and each is answered",
  async () => {
    using folder = tempFolder({ "tasks/robot.ts": robotTasks });
    writeFileSync(folder.at("task-engine.toml"), recordToml(folder.at("record")));
    await using engine = await startEngine({ cwd: folder.path });
    using asker = new Asker(engine.endpoint);
    const gates = [0, 1].map(() => asker.send("gate", [folder.at("gate")]));
    while (engine.lines.filter((line) => line.includes("gate has begun")).length < 2) await Bun.sleep(5);
    const serials = Array.from({ length: 10_000 }, (_, index) => asker.send("count", [index, 1]));
    const status = (await asker.control({ command: "status" })) as { jobs: { waiting: number; held: number } };
    expect(status.jobs.waiting + status.jobs.held).toBe(10_002);
    writeFileSync(folder.at("gate"), "");
    const outcomes = await asker.settled();
    for (const [index, serial] of serials.entries()) expect(outcomes.get(serial)).toEqual([{ result: index + 1 }]);
    for (const serial of gates) expect(outcomes.get(serial)).toEqual([{ result: "open" }]);
  },
  limitMs,
);

test(
  "a batch of 20,000 lines goes through a pipe whole",
  async () => {
    await using engine = await startEngine();
    const env = { PATH: process.env.PATH ?? "", TASK_ENGINE_ROUTER: engine.endpoint };
    await using send = startCommand(["send", "count", "--batch", "-"], { env, stdin: "pipe" });
    const lines = Array.from({ length: 20_000 }, (_, index) => index);
    await send.write(lines.map((index) => `[${index}, 1]\n`).join(""));
    await send.endInput();
    expect(await send.ended()).toBe(0);
    expect(send.stdout).toBe(lines.map((index) => `${index + 1}\n`).join(""));
  },
  limitMs,
);

/** Sends `count` requests, then awaits one answer to each; `during` happens when they are on their way. */
const answersTo = async (endpoint: string, count: number, during: () => void): Promise<Map<string, string>> => {
  using requestor = dealerTo(endpoint);
  const answers = new Map<string, string>();
  let sent = 0;
  const send = (): void => {
    requestor.send("", metaFrame({ version: 0.2, serial: `s-${sent}` }), taskFrame([sent++, 1]));
  };
  while (sent < 200) send();
  for (let received = 0; received < count; received++) {
    const { meta, data } = await requestor.reply();
    const serial = String(meta.serial);
    if (answers.has(serial)) throw new Error(`${serial} was answered twice`);
    const isRight = meta.type === "ACK" && data === Number(serial.slice(2)) + 1;
    answers.set(serial, isRight ? "result" : String((data as { code?: string }).code));
    if (received === count / 2) during();
    if (sent < count) send();
  }
  return answers;
};

test(
  "a worker killed under load costs at most the jobs that it may have begun, and each request is answered once",
  async () => {
    await using engine = await startEngine();
    const answers = await answersTo(engine.endpoint, 20_000, () => {
      const [pid = 0] = engine.pidsOf("task worker");
      process.kill(pid, "SIGKILL");
    });
    expect(answers.size).toBe(20_000);
    expect([...new Set(answers.values())].sort()).toBeOneOf([["result"], ["INTERRUPTED", "result"]]);
    await engine.line(/task worker ended by SIGKILL/);
  },
  limitMs,
);

test(
  "after a router killed under load, requests are served again, by the same workers",
  async () => {
    await using engine = await startEngine();
    const workers = engine.pidsOf("task worker");
    using before = dealerTo(engine.endpoint);
    for (let index = 0; index < 1000; index++) {
      before.send("", metaFrame({ version: 0.2, serial: `s-${index}` }), taskFrame([index]));
    }
    await before.reply();
    const [router = 0] = engine.pidsOf("router");
    process.kill(router, "SIGKILL");
    await engine.line(/router ended by SIGKILL/);
    const answers = await answersTo(engine.endpoint, 2_000, () => undefined);
    expect(new Set(answers.values())).toEqual(new Set(["result"]));
    expect(engine.pidsOf("task worker")).toEqual(workers);
  },
  limitMs,
);

test(
  "a subscriber that stops reading costs a bounded amount of memory and slows nobody down",
  async () => {
    await using engine = await startEngine();
    const publisher = `tcp://127.0.0.1:${engine.ports.worker + 2}`;
    using lazy = new Subscriber({ receiveHighWaterMark: 1 });
    using quick = new Subscriber({ receiveHighWaterMark: 100_000 });
    for (const subscriber of [lazy, quick]) {
      subscriber.connect(publisher);
      subscriber.subscribe("camera");
    }
    const [worker = 0] = engine.pidsOf("data worker");
    const residentMb = (): number =>
      Number(/VmRSS:\s+(\d+)/.exec(require("node:fs").readFileSync(`/proc/${worker}/status`, "utf8"))?.[1]) / 1024;
    const picture = "x".repeat(100_000);
    const count = 3_000;
    using requestor = dealerTo(engine.endpoint);
    let received = 0;
    quick.onReadable(() => {
      while (quick.tryReceive() !== null) received++;
    });
    // One first, until the subscription is known to hold.
    while (received === 0) {
      requestor.send("", metaFrame({ id: "camera" }), json({ data: picture, pack: 1 }));
      await requestor.reply();
    }
    const before = residentMb();
    const receivedBefore = received;
    for (let index = 0; index < count; index++) {
      requestor.send("", metaFrame({ id: "camera" }), json({ data: picture, pack: 1 }));
      await requestor.reply();
    }
    while (received < receivedBefore + count) await Bun.sleep(5);
    // 300 MB were published; what is kept for the lazy one is its queue of 256, and for all the history.
    expect(residentMb() - before).toBeLessThan(120 + historyBytesMax / 2 ** 20);
    expect(received).toBe(receivedBefore + count);
  },
  limitMs,
);
