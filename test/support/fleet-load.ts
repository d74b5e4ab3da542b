/**
 * Gives jobs to a fleet until a line comes on stdin, then waits until each accepted one has ended:
 * `fleet-load.ts URL ROBOTS PER-SECOND`. Prints one line of JSON: the accepted jobs and their ends.
 */
import { connect as connectNats } from "@nats-io/transport-node";
import { TaskEngineError } from "../../src/client/client.ts";
import { FleetJobs } from "../../src/client/fleet-jobs.ts";
import type { QueuedJob } from "../../src/protocol/fleet-jobs.ts";

export interface Accepted {
  /** The job's argument: what it notes when it runs. */
  readonly key: string;
  readonly id: string;
  readonly task: string;
  readonly state: string;
  readonly code: string | null;
  /** Its end is the one that was seen first. */
  readonly isStable: boolean;
}

const run = async ([url = "", robots = "", perSecond = ""]: readonly string[]): Promise<void> => {
  const nats = await connectNats({
    servers: url,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 200,
    waitOnFirstConnect: true,
  });
  const jobs = await FleetJobs.over(nats);
  const targets = [...robots.split(",").map((robot) => ({ robot })), { group: "all-of-them" }];
  const accepted = new Map<string, { key: string; task: string }>();
  let isOver = false;
  process.stdin.once("data", () => {
    isOver = true;
  });
  const sending: Promise<void>[] = [];
  for (let number = 0; !isOver; number++) {
    const key = `${number}`;
    const task = number % 2 === 0 ? "note" : "note_again";
    const target = targets[number % targets.length] ?? { group: "all-of-them" };
    const sent = jobs.send(target, task, [key], {}, { detach: true }).then(
      ({ job }) => void accepted.set(job, { key, task }),
      (error: unknown) => {
        if (!(error instanceof TaskEngineError)) throw error;
      },
    );
    sending.push(sent);
    await Bun.sleep(1000 / Number(perSecond));
  }
  await Promise.all(sending);
  const ends = new Map<string, QueuedJob>();
  const endOf = async (id: string): Promise<QueuedJob | null> => (await jobs.find(id).catch(() => null))?.job ?? null;
  while (ends.size < accepted.size) {
    for (const id of accepted.keys()) {
      const job = ends.has(id) ? null : await endOf(id);
      if (job?.ended != null) ends.set(id, job);
    }
    await Bun.sleep(500);
  }
  const list: Accepted[] = [];
  for (const [id, { key, task }] of accepted) {
    const [first, last] = [ends.get(id), await endOf(id)];
    const isStable = JSON.stringify(first) === JSON.stringify(last);
    list.push({ key, id, task, state: first?.state ?? "", code: first?.code ?? null, isStable });
  }
  process.stdout.write(`${JSON.stringify(list)}\n`);
  await nats.close();
};

await run(process.argv.slice(2));
