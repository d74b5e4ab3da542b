/** Every kind of message that the engine knows, valid, with chance in its fields: what mutations begin with. */
import type { Random } from "../broker/simulation/random.ts";
import { json, metaFrame, taskFrame } from "./raw-requestor.ts";

export type Message = Uint8Array[];
type Source = (random: Random) => Message;

const v2 = (random: Random, more: object = {}): Buffer =>
  metaFrame({ version: 0.2, serial: `s-${random.whole(0, 99)}`, ...more });
const topicOf = (random: Random): string => `topic/${random.whole(0, 49)}`;
const args = (random: Random): unknown[] => [random.whole(-1000, 1000), random.next()];
const options = (random: Random): object => ({
  priority: random.whole(0, 9),
  ttlMs: random.whole(1, 10_000),
  timeoutMs: random.whole(1, 10_000),
});
const data = (random: Random, more: object = {}): Buffer =>
  json({ data: { x: random.next(), list: [1, "two", null] }, pack: 1, ...more });
const control = (random: Random, command: object): Message => [
  v2(random, { type: "CONTROL" }),
  json({ data: command, pack: 1 }),
];

/** To the router's frontend and a worker's own port, behind the delimiter. */
export const fromRequestors: readonly Source[] = [
  () => [metaFrame({ type: "ACK" })],
  () => [metaFrame()],
  (random) => [metaFrame(), taskFrame(args(random))],
  (random) => [metaFrame({ id: topicOf(random) }), data(random)],
  (random) => [v2(random), taskFrame(args(random))],
  (random) => [v2(random), taskFrame(args(random), { options: options(random) })],
  // Of Python.
  (random) => [v2(random), taskFrame(args(random), { task: "echo", kwargs: { name: args(random) } })],
  (random) => [v2(random), ...Array.from({ length: random.whole(2, 20) }, () => taskFrame(args(random)))],
  (random) => [v2(random), data(random, { topic: topicOf(random) })],
  (random) => [v2(random, { type: "CANCEL" })],
  (random) => control(random, { command: "tasks" }),
  (random) => control(random, { command: "status" }),
  (random) => control(random, { command: "get", topic: topicOf(random) }),
  (random) => control(random, { command: "cancel", serial: `s-${random.whole(0, 99)}` }),
];

const jobs = (random: Random): number[] => Array.from({ length: random.whole(1, 3) }, () => random.whole(1, 100_000));
/** Above what any process has: a worker that claims another's number has it killed. */
const pid = (random: Random): number => 900_000_000 + random.whole(0, 9);
const ready = (random: Random, more: object): Message => [
  json({ type: "READY", role: "task", id: "rogue", pid: pid(random), tasks: [], endpoint: "", ...more }),
];

/** To the router's backend: what a worker says, and what only the router should. */
export const fromWorkers: readonly Source[] = [
  (random) => ready(random, { tasks: ["count", { name: "rogue", timeoutMs: 10, idempotent: true }] }),
  (random) => ready(random, { tasks: ["rogue"], supervised: true }),
  (random) => ready(random, { role: "data", endpoint: `tcp://127.0.0.1:${random.whole(1, 9)}` }),
  (random) => {
    const staleMs = random.whole(20, 1000);
    return ready(random, { role: "source", sources: [{ name: "gyro", topic: topicOf(random), everyMs: 20, staleMs }] });
  },
  (random) => {
    const counts = { overruns: random.whole(0, 99), errors: random.whole(0, 99) };
    return [json({ type: "SOURCES", sources: [{ name: "gyro", hz: random.next(), jitterMs: null, ...counts }] })];
  },
  () => [json({ type: "BEAT" })],
  (random) => {
    const ids = jobs(random);
    return [json({ type: "DONE", jobs: ids, ms: ids.map(() => random.next()) }), ...ids.map(() => data(random))];
  },
  (random) => {
    const ids = jobs(random);
    const failed = json({ data: { code: "TASK_ERROR", message: "no" }, pack: 1 });
    return [json({ type: "FAIL", jobs: ids, ms: ids.map(() => 1) }), ...ids.map(() => failed)];
  },
  (random) => [json({ type: "PUBLISH", topic: topicOf(random) }), data(random)],
  (random) => [json({ type: "PROGRESS", job: random.whole(1, 100_000) }), data(random)],
  (random) => [json({ type: "RETURN", jobs: jobs(random) })],
  () => [json({ type: "LEAVE" })],
  (random) => {
    const topics = ["$engine/jobs", "$engine/log", "$engine/stop", topicOf(random)].slice(random.whole(0, 4));
    return [json({ type: "WATCHED", topics })];
  },
  () => [json({ type: "HEARD" })],
  (random) => [json({ type: "EVENTS", topics: ["$engine/jobs"], lost: [random.whole(0, 9)] }), data(random)],
  () => [json({ type: "WELCOME" })],
  () => [json({ type: "WHO" })],
  () => [json({ type: "GOODBYE" })],
  (random) => [json({ type: "JOBS", jobs: [random.whole(1, 99)], serials: ["s"], ttlMs: [null] }), taskFrame()],
  (random) => [json({ type: "ABORT", job: random.whole(1, 99), code: "CANCELLED", message: "no" })],
  (random) => [json({ type: "PUT", jobs: [random.whole(1, 99)], topics: [topicOf(random)] }), data(random)],
  (random) => [json({ type: "GET", jobs: [random.whole(1, 99)], topics: [topicOf(random)] })],
];

/** To a data port, from an XSUB socket: subscriptions, their ends, and messages that no subscriber sends. */
export const fromSubscribers: readonly Source[] = [
  (random) => [Buffer.from(`\u0001${topicOf(random)}`)],
  (random) => [Buffer.from(`\u0000${topicOf(random)}`)],
  () => [Buffer.from("\u0001$topics")],
  (random) => [Buffer.from(`${random.pick(["\u0001", "\u0000"])}${random.pick(["$", "$engine/", "$engine/jobs"])}`)],
  () => [Buffer.from("\u0001")],
  (random) => [Buffer.from(`\u0002${topicOf(random)}`), data(random)],
];
