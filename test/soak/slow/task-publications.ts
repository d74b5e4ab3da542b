/** The values of tasks, on their way past the router to the data worker. */
import { expect, setDefaultTimeout } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { connect, type Subscription, type TopicValue } from "task-engine";
import { writeCertificate } from "../../../src/security/certificate.ts";
import { makeKeyPair } from "../../../src/security/keys.ts";
import { Subscriber } from "../../../src/transport/zmq/socket.ts";
import { test } from "../../support/concurrent.ts";
import { until } from "../../support/connections.ts";
import { type Engine, startEngine } from "../../support/engine.ts";
import { runProgram } from "../../support/program.ts";
import { tempFolder } from "../../support/temp-folder.ts";

setDefaultTimeout(60_000); // many processes on a busy machine

const tasks = `
  import { existsSync } from "node:fs";
  export const task_steps = async ([topic, times, everyMs], _kwargs, { publish, signal }) => {
    for (let count = 1; count <= times && !signal.aborted; count++) {
      publish(topic, count);
      if (everyMs > 0) await Bun.sleep(everyMs);
    }
  };
  export const task_last = async ([topic, times], _kwargs, { publish }) => {
    for (let count = 0; count < 20; count++) {
      publish(topic, 0);
      await Bun.sleep(10);
    }
    for (let count = 1; count <= times; count++) publish(topic, count);
  };
  export const task_frame = async (_args, _kwargs, { publish }) => {
    const bytes = new Uint8Array([1, 2, 3, 4]);
    const isPublished = publish("frame", bytes, { contentType: "image/jpeg" });
    bytes.fill(0);
    return isPublished && publish("scan", new Float32Array([0.5, 1, 1.5, 2]), { shape: [2, 2] });
  };
  export const task_flood = ([file], _kwargs, { publish }) => {
    for (let count = 0; count < 300; count++) publish("flood", "x".repeat(100_000));
    for (; !existsSync(file); Bun.sleepSync(5)) publish("blocked", "third");
  };
  export const task_block = ([file], _kwargs, { publish }) => {
    publish("blocked", "first");
    publish("blocked", "second");
    while (!existsSync(file)) Bun.sleepSync(5);
  };
`;

const farTasks = `
  export const task_far = async ([topic, times, everyMs], _kwargs, { publish, signal }) => {
    for (let count = 1; count <= times && !signal.aborted; count++) {
      publish(topic, count);
      await Bun.sleep(everyMs);
    }
  };
`;

const flags = ["--task-workers", "1", "--data-workers", "1"];

const read = async (subscription: Subscription): Promise<TopicValue> => {
  const { value } = await subscription.next();
  if (value === undefined) throw new Error("the subscription has ended");
  return value;
};

const readUntil = async (subscription: Subscription, isIt: (value: TopicValue) => boolean): Promise<TopicValue> => {
  for (;;) {
    const value = await read(subscription);
    if (isIt(value)) return value;
  }
};

const pidOf = (engine: Engine, role: string): number => {
  const [pid = 0] = engine.pidsOf(role);
  expect(pid).toBeGreaterThan(0);
  return pid;
};

/** A worker publishes past the router from a moment after its first value. */
const untilDirect = async (engine: Engine, client: ReturnType<typeof connect>, task: string): Promise<void> => {
  await client.call(task, ["warm", 20, 20]);
  await until("the values arrive", async () => (await client.topics("warm")).length === 1);
  expect(engine.errorLines).toEqual([]);
};

/** The router is halted, and values come all the same. */
const expectPastRouter = async (engine: Engine, client: ReturnType<typeof connect>, task = "steps"): Promise<void> => {
  await untilDirect(engine, client, task);
  await using steps = client.subscribe("steps");
  const abort = new AbortController();
  const counting = client.call(task, ["steps", 100_000, 10], {}, { signal: abort.signal }).catch(({ code }) => code);
  await read(steps);
  const router = pidOf(engine, "router");
  process.kill(router, "SIGSTOP");
  try {
    const { seq } = await read(steps);
    for (let further = 1; further <= 50; further++) expect((await read(steps)).seq).toBe(seq + further);
  } finally {
    process.kill(router, "SIGCONT");
  }
  abort.abort();
  expect(await counting).toBe("CANCELLED");
};

test("values of a task reach subscribers of 0.2 and 0.3 in their order, bytes with their type, and at once though it blocks then", async () => {
  using folder = tempFolder({ "tasks/robot.ts": tasks });
  await using engine = await startEngine({ cwd: folder.path, flags });
  await using client = connect(engine.endpoint);
  using old = new Subscriber();
  old.subscribe("steps");
  old.connect(`tcp://127.0.0.1:${engine.ports.worker + 1}`);
  await using steps = client.subscribe("steps");
  await until("the subscriber of 0.2 is there", async () => {
    await client.publish("steps", 0, { confirm: true });
    return old.tryReceive() !== null;
  });
  await untilDirect(engine, client, "steps");
  // As many as wait for a subscriber of 0.2 that gets no processor: of more it loses some.
  await client.call("steps", ["steps", 200, 0]);
  const first = await readUntil(steps, ({ data }) => data === 1);
  for (let count = 2; count <= 200; count++) {
    const { data, seq } = await read(steps);
    expect({ data, seq }).toEqual({ data: count, seq: first.seq + count - 1 });
  }
  const seen: unknown[] = [];
  await until("the subscriber of 0.2 has the last value", async () => {
    for (let message = old.tryReceive(); message !== null; message = old.tryReceive()) {
      seen.push(JSON.parse(`${message[2]}`).data);
    }
    return seen.at(-1) === 200;
  });

  expect(await client.call("frame")).toBe(true);
  await until("the bytes are there", async () => (await client.topics("scan")).length === 1);
  const { contentType, data } = await client.get("frame");
  expect([contentType, data]).toEqual(["image/jpeg", new Uint8Array([1, 2, 3, 4])]);
  const { dtype, shape } = await client.get("scan");
  expect([dtype, shape]).toEqual(["float32", [2, 2]]);

  await using blocked = client.subscribe("blocked");
  const file = folder.at("goes-on");
  const blocking = client.call("block", [file]);
  await readUntil(blocked, ({ data }) => data === "second");
  expect(existsSync(file)).toBe(false);
  writeFileSync(file, "");
  await blocking;
  const flooding = client.call("flood", [folder.at("ends")]);
  await readUntil(blocked, ({ data }) => data === "third");
  writeFileSync(folder.at("ends"), "");
  await flooding;
});

test("a halted router delays no value, and a data worker that is killed gets what is published once it is back", async () => {
  using folder = tempFolder({ "tasks/robot.ts": tasks });
  await using engine = await startEngine({ cwd: folder.path, flags });
  await using client = connect(engine.endpoint);
  await expectPastRouter(engine, client);

  await using pose = client.subscribe("pose");
  const abort = new AbortController();
  const counting = client.call("steps", ["pose", 100_000, 5], {}, { signal: abort.signal }).catch(({ code }) => code);
  const { epoch } = await read(pose);
  process.kill(pidOf(engine, "data worker"), "SIGKILL");
  const back = await readUntil(pose, (value) => value.epoch !== epoch);
  expect((await readUntil(pose, (value) => value.epoch === back.epoch)).seq).toBeGreaterThan(back.seq);
  abort.abort();
  expect(await counting).toBe("CANCELLED");
});

test("what a worker publishes right before its end is not lost", async () => {
  using folder = tempFolder({ "tasks/robot.ts": tasks });
  await using engine = await startEngine({ cwd: folder.path, flags: [...flags, "--worker-jobs-max", "1"] });
  await using client = connect(engine.endpoint);
  for (const topic of ["a", "b"]) await client.call("last", [topic, 5_000]);
  for (const topic of ["a", "b"]) {
    await until("the last value is there", async () => (await client.get(topic)).data === 5_000);
  }
  expect(engine.errorLines).toEqual([]);
});

test("in an engine with keys, values go past the router, too, also those of a worker with a key of its own, as far as that may write", async () => {
  using folder = tempFolder({ "tasks/robot.ts": tasks, "far/far.ts": farTasks });
  const keys = folder.at(".config/task-engine");
  const program = makeKeyPair();
  writeCertificate(keys, "engine", makeKeyPair(), false);
  writeCertificate(keys, "program", program, false);
  const robot = makeKeyPair();
  writeCertificate(keys, "robot", robot, false);
  const lines = [`${program.publicKey} program send read`, `${robot.publicKey} robot worker write:warm write:steps`];
  writeFileSync(`${keys}/authorized`, `${lines.join("\n")}\n`);
  const env = { PATH: process.env.PATH ?? "", HOME: folder.path };
  await using engine = await startEngine({
    cwd: folder.path,
    env,
    flags: ["--key", `${keys}/engine.key_secret`, ...flags],
  });
  const ofProgram = { serverKey: `${keys}/engine.key`, key: `${keys}/program.key_secret` };
  await using client = connect(engine.endpoint, ofProgram);
  await expectPastRouter(engine, client);

  const given = [
    "--server-key",
    `${keys}/engine.key`,
    "--key",
    `${keys}/robot.key_secret`,
    "--tasks",
    folder.at("far"),
  ];
  await using far = runProgram(["worker", "--router", `tcp://127.0.0.1:${engine.ports.backend}`, ...given]);
  await far.line(/Joined/);
  await expectPastRouter(engine, client, "far");
  await client.call("far", ["secret", 3, 5]);
  expect(await far.line(/Topic "secret" of task far: values are not taken: UNAUTHORIZED/)).toContain("write");
  expect(far.errorLines).toHaveLength(1);
});
