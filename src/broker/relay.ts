/** Messages of workers that are passed on: the progress of a job, and the publications of tasks. */
import { eventProgressLengthMax } from "../limits.ts";
import type { WorkerHeader } from "../protocol/backend.ts";
import type { Frame } from "../protocol/frame.ts";
import { superseded } from "./blocks.ts";
import { type Effect, publicationLost } from "./events.ts";
import { dataDraft } from "./job.ts";
import type { JobLifecycle } from "./lifecycle.ts";
import { mistakeInData } from "./outcome.ts";
import type { Worker } from "./state.ts";
import type { DropReason } from "./statistics.ts";
import type { Tables } from "./tables.ts";

type Publish = Extract<WorkerHeader, { type: "PUBLISH" }>;

export const relay = (
  tables: Tables,
  lifecycle: JobLifecycle,
  worker: Worker,
  header: Publish | Extract<WorkerHeader, { type: "PROGRESS" }>,
  body: Frame,
  now: number,
): Effect[] => {
  const { events, requests, statistics } = tables;
  const { id, supervised } = worker.ready;
  // A worker of the engine has encoded the frame with the code that would check it here.
  const mistake = supervised === true ? null : mistakeInData(body);
  if (mistake !== null) {
    if (statistics.drop("workersMessage") > 1) return [];
    const line = `Dropped a message of worker ${id}: ${header.type}: ${mistake}; further ones are only counted`;
    return [{ to: "log", line }];
  }
  if (header.type === "PUBLISH") return publish(tables, lifecycle, worker, header, body, now);
  const held = worker.held.get(header.job);
  if (held !== undefined) {
    if (body.length <= eventProgressLengthMax) held.job.progress = body;
    if (events.watchesJobs) events.progress(held.job, worker, body);
    return requests.progress(held.job, id, body);
  }
  statistics.drop("progressOfNoJob");
  return [];
};

/**
 * A publication becomes a `put` job without a requestor. Without room for one more, it takes the
 * place of an older one of its topic.
 */
const publish = (
  tables: Tables,
  lifecycle: JobLifecycle,
  { user, ready }: Worker,
  { topic, task }: Publish,
  body: Frame,
  now: number,
): Effect[] => {
  const { access, blocks, directory, queues, statistics } = tables;
  const publisher = `${task === undefined ? "" : `task ${task} of `}worker ${ready.id}`;
  const lose = (reason: DropReason, why: string): Effect[] =>
    statistics.drop(reason) === 1 ? [publicationLost(publisher, topic, why)] : [];
  if (access.missing(user, "write", topic) !== null) {
    return lose("publicationUnauthorized", "its worker has no right to write it");
  }
  const queue = directory.topicQueue(topic);
  if (queue === undefined) return lose("publicationWithoutDataWorker", "there is no data worker");
  if (blocks.closed !== null) return lose("publicationWhileStopping", "the engine is stopping");
  const draft = dataDraft("put", topic, queue, body, publisher);
  if (queues.hasRoom(1, draft.bytes)) return lifecycle.accept(draft, null, 0, now);
  const older = queues.publicationOf(topic);
  if (older === undefined || !queues.hasRoom(0, draft.bytes - older.bytes)) {
    return lose("publicationQueueFull", `${queues.jobs} jobs (${queues.bytes} bytes) are waiting already`);
  }
  return [...lifecycle.stop(older, superseded, now), ...lifecycle.accept(draft, null, 0, now)];
};
