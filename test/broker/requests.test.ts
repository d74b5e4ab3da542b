import { beforeEach, expect, test } from "bun:test";
import type { Effect } from "../../src/broker/events.ts";
import { createJob, openJobs } from "../../src/broker/job.ts";
import { failure, success } from "../../src/broker/outcome.ts";
import { Requests } from "../../src/broker/requests.ts";
import type { Job, OpenRequest, RequestSender } from "../../src/broker/state.ts";
import { batchResultBytesMax, bytesPerClientMax, progressIntervalMs } from "../../src/limits.ts";
import type { Requestor } from "../../src/protocol/envelope.ts";
import { ProtocolError } from "../../src/protocol/errors.ts";
import { decodeReply, type Reply } from "../../src/protocol/replies.ts";
import { asReceived } from "../support/frames.ts";

const requestor = (id: Buffer, ...envelope: Uint8Array[]): Requestor => ({ peer: id.toString("latin1"), envelope });

const by = (who: string, serial: string | undefined): RequestSender => ({
  requestor: requestor(Buffer.from(who), Buffer.alloc(0)),
  user: null,
  meta: { version: 0.2, ...(serial !== undefined && { serial }) },
});

let requests: Requests;
beforeEach(() => {
  requests = new Requests("ROUTER-1");
});

const draft = {
  kind: "task",
  name: "count",
  queue: "task count",
  body: "x",
  bytes: 1,
  options: {},
  policy: {},
} as const;

const open = (asked: RequestSender, parts: number): { request: OpenRequest; jobs: Job[] } => {
  const request = requests.open(asked, parts, parts, Number.POSITIVE_INFINITY, 0);
  if ("code" in request) throw new Error(request.message);
  const jobs = Array.from({ length: parts }, (_, part) => createJob(draft, part + 1, { request, part }, 0));
  for (const job of jobs) request.jobs[job.part] = job;
  return { request, jobs };
};

const result = (data: string) => success("TASK-1", JSON.stringify({ data, pack: 1 }));

const repliesOf = (effects: readonly Effect[]): Reply[] =>
  effects.flatMap((effect) => {
    const reply = effect.to === "requestor" ? decodeReply(asReceived(effect.frames)) : null;
    if (reply === null || reply instanceof ProtocolError) throw new Error("not a reply");
    return [reply];
  });

test("a serial names one open request of one requestor, and is free again once that is answered", () => {
  const { request, jobs } = open(by("one", "a"), 1);
  expect(requests.open(by("one", "a"), 1, 1, Number.POSITIVE_INFINITY, 0)).toMatchObject({ code: "BAD_FRAME" });
  open(by("two", "a"), 1);
  expect(requests.find(by("one", "a"), "a")).toBe(request);
  expect(requests.findAll("a")).toHaveLength(2);
  for (const job of jobs) requests.settle(job, result("r"), 0);
  expect(requests.find(by("one", "a"), "a")).toBeUndefined();
  open(by("one", "a"), 1);
});

test("requestors whose routing ids look alike are not taken for each other", () => {
  open({ ...by("one", "a"), requestor: requestor(Buffer.from([0xff]), Buffer.from("x")) }, 1);
  for (const other of [
    requestor(Buffer.from([0xff, 0x78])),
    requestor(Buffer.from([0xfe]), Buffer.from("x")),
    requestor(Buffer.from("ÿ"), Buffer.from("x")),
    { peer: "ÿx", envelope: [] },
  ])
    expect(requests.find({ requestor: other, user: null }, "a")).toBeUndefined();
});

test("who takes over another's routing id does not get hold of its requests", () => {
  const { request } = open({ ...by("one", "a"), user: "laptop" }, 1);
  expect(requests.find({ ...by("one", "a"), user: "laptop" }, "a")).toBe(request);
  expect(requests.find({ ...by("one", "a"), user: "phone" }, "a")).toBeUndefined();
  expect(requests.find(by("one", "a"), "a")).toBeUndefined();
});

test("a batch is answered once, when its last part has ended, in the order asked", () => {
  const { request, jobs } = open(by("one", "a"), 3);
  const [first, second, third] = jobs;
  if (first === undefined || second === undefined || third === undefined) throw new Error("three were made");
  expect(requests.settle(third, result("3"), 0)).toEqual([]);
  expect(requests.settle(first, failure("TASK-1", "TASK_ERROR", "no"), 0)).toEqual([]);
  // What has ended is not kept until the last has.
  expect(openJobs(request)).toEqual([second]);
  expect(repliesOf(requests.settle(second, result("2"), 0))).toMatchObject([
    { kind: "batch", parts: [{ error: { code: "TASK_ERROR", message: "no" } }, { data: "2" }, { data: "3" }] },
  ]);
});

test("a batch tells how far it is, and not too often", () => {
  const { jobs } = open(by("one", "a"), 10);
  const progress = jobs
    .slice(0, 9)
    .flatMap((job, index) => repliesOf(requests.settle(job, result("r"), (index * progressIntervalMs) / 3)));
  expect(progress).toMatchObject([
    { kind: "progress", data: { done: 4, total: 10 } },
    { kind: "progress", data: { done: 7, total: 10 } },
  ]);
});

test("the results of all batches together have a bound, and what is answered makes room again", () => {
  const big = success("TASK-1", new Uint8Array(batchResultBytesMax - 200).fill(0x20));
  const [one, two, three] = [open(by("one", "a"), 2), open(by("two", "a"), 2), open(by("three", "a"), 2)];
  const settle = (jobs: readonly Job[], part: number, outcome = big) => {
    const job = jobs[part];
    return job === undefined ? [] : requests.settle(job, outcome, 0);
  };
  settle(one.jobs, 0);
  settle(two.jobs, 0);
  expect(repliesOf(settle(two.jobs, 1, result("r")))).toMatchObject([
    { parts: [{ error: { code: "TOO_LARGE" } }, { data: "r" }] },
  ]);
  settle(one.jobs, 1, result("r"));
  settle(three.jobs, 0);
  const [effect] = settle(three.jobs, 1, result("r"));
  expect(effect?.to === "requestor" && effect.frames[1]?.length).toBe(batchResultBytesMax - 200);
});

test("progress of one job is for v0.2 alone, and a batch has its own", () => {
  const body = JSON.stringify({ data: 0.5, pack: 1 });
  const told = (asked: RequestSender, parts: number): number => {
    const [job] = open(asked, parts).jobs;
    return job === undefined ? 0 : requests.progress(job, "TASK-1", body).length;
  };
  expect(told(by("one", "a"), 1)).toBe(1);
  expect(told(by("one", "b"), 2)).toBe(0);
  expect(told({ ...by("one", undefined), meta: { version: 0.1 } }, 1)).toBe(0);
});

test("what its client has in flight is free again once a request is answered, in jobs and in bytes", () => {
  for (let round = 0; round < 3; round++) {
    const asked = { ...by("one", `${round}`), user: "laptop" };
    const request = requests.open(asked, 2, bytesPerClientMax, Number.POSITIVE_INFINITY, 0);
    if ("code" in request) throw new Error(request.message);
    expect(requests.open({ ...by("two", "x"), user: "laptop" }, 1, 1, Number.POSITIVE_INFINITY, 0)).toMatchObject({
      code: "QUEUE_FULL",
    });
    for (const part of [0, 1]) requests.settle(createJob(draft, part + 1, { request, part }, 0), result("r"), 0);
  }
});
