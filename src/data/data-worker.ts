/** The data worker process: answers the router's PUT and GET, and publishes to subscribers. */

import { dirname } from "node:path";
import { beatIntervalMs, leavingHandoverMs } from "../limits.ts";
import { BackendLink, type WorkHeader } from "../process/backend-link.ts";
import { say, warn } from "../process/log.ts";
import { openGate } from "../process/open-gate.ts";
import { onLeaveRequest, onSupervisorMessage, tellSupervisor } from "../process/supervised.ts";
import { engineTopicPrefix } from "../protocol/engine-topics.ts";
import type { Frame } from "../protocol/frame.ts";
import { encodeData, encodeError } from "../protocol/frames.ts";
import { Pulse } from "../transport/pulse.ts";
import { StartError } from "../transport/start-error.ts";
import { terminateContext } from "../transport/zmq/context.ts";
import { describeBindError } from "../transport/zmq/start.ts";
import { partsOf } from "./framed.ts";
import { handOver } from "./handover.ts";
import { PlainPort } from "./plain-port.ts";
import { Publisher } from "./publisher.ts";
import { dialOwnStream } from "./stream-link.ts";
import { StreamPort } from "./stream-port.ts";
import type { Topic } from "./topic.ts";
import { TopicStore } from "./topic-store.ts";

interface DataWorkerOptions {
  readonly host: string;
  /** Where subscribers connect. */
  readonly port: number;
  /** For publishers and subscribers of 0.3. */
  readonly streamPort: number;
  /** For publishers that are a plain PUB socket; null for none. */
  readonly plainPort: number | null;
  /** The socket beside that port for local programs, in an engine with keys; null for none. */
  readonly streamSocket: string | null;
  /**
   * The same for the engine's own workers of Python, which it opens once there are some; null for
   * none.
   */
  readonly pythonSocket: string | null;
  /** ms that values are kept, and bytes of all of them. */
  readonly historyMs: number;
  readonly historyBytes: number;
  /** bytes of one value. */
  readonly dataBytesMax: number;
  /** The router's backend, `tcp://HOST:PORT`, or its socket, `unix://PATH`. */
  readonly backend: string;
  /** Print each value that is received. */
  readonly verbose: boolean;
}

/** Runs until it is told to stop. Throws StartError if the port cannot be had. */
export const runDataWorker = async (options: DataWorkerOptions): Promise<void> => {
  const tag = `[WORKER-${process.pid}(DATA)]`;
  const address = `${options.host}:${options.port}`;
  const endpoint = `tcp://${address}`;
  const gate = await openGate();
  const store = new TopicStore({
    access: () => gate.access,
    onWatched: (topics) => link.watched(topics),
    onTimer: () => stream.flush(),
    bytesMax: options.historyBytes,
    historyMs: options.historyMs,
    valueBytesMax: options.dataBytesMax,
  });
  if (options.verbose) store.listeners.add((topic) => sayValue(tag, topic));
  const publisher = new Publisher(gate, store);
  const stream = new StreamPort(store, gate);
  const plain =
    options.plainPort === null ? null : new PlainPort(store, gate, options.dataBytesMax, () => stream.flush());

  say(`Starting worker[DATA] on socket: ${address}`);
  const { host, streamPort, streamSocket: socket, plainPort } = options;
  bind("the data worker", address, () => publisher.bind(endpoint));
  bind("the data worker's stream", `${host}:${streamPort}`, () => stream.bind({ host, port: streamPort, socket }));
  bind("the data worker's port for PUB sockets", `${host}:${plainPort}`, () =>
    plain?.bind(`tcp://${host}:${plainPort}`),
  );
  say(`${tag} Listener online`);
  const { pythonSocket } = options;
  onSupervisorMessage(({ type }) => {
    if (type !== "python" || pythonSocket === null) return;
    const failure = stream.bindPython(pythonSocket);
    if (failure === null) return;
    warn(
      `${tag} Python's values come more slowly, and not at all with keys: ${pythonSocket} cannot be made: ${failure}`,
    );
  });

  const onWork = (header: WorkHeader, bodies: readonly Frame[]): void => {
    for (const [index, job] of header.jobs.entries()) {
      if (header.type === "JOBS")
        link.answer("FAIL", job, 0, encodeError("UNKNOWN_TASK", "a data worker runs no tasks"));
      else if (header.type === "GET") get(job, header.topics[index] ?? "");
      else put(job, header.topics[index] ?? "", bodies[index] ?? "");
    }
    link.flush();
    stream.flush();
  };

  const put = (job: number, topic: string, data: Frame): void => {
    const refused = publisher.put(topic, data);
    if (refused === null) link.answer("DONE", job, 0, encodeData(null));
    else link.answer("FAIL", job, 0, encodeError(refused.code, refused.message));
  };

  const get = (job: number, topic: string): void => {
    const last = publisher.get(topic);
    if ("code" in last) link.answer("FAIL", job, 0, encodeError(last.code, last.message));
    else link.answer("DONE", job, 0, encodeData({ topic, value: last.data, pack: last.pack }));
  };

  /** The handover that is going on. */
  let handing: Promise<void> = Promise.resolve();
  const folder = options.streamSocket === null ? null : dirname(options.streamSocket);
  const give = (): Promise<number> =>
    handOver({
      store,
      valueBytesMax: options.dataBytesMax,
      dial: (other) => dialOwnStream(other, folder),
    });

  /** The last report that the router has got. */
  let reported = "";
  const link = new BackendLink({
    endpoint: options.backend,
    keys: {},
    tag,
    ready: {
      type: "READY",
      role: "data",
      id: `TASK-${process.pid}`,
      pid: process.pid,
      tasks: [],
      endpoint,
      stream: stream.endpoint,
      ...(plain !== null && { plain: plain.endpoint }),
    },
    onWelcome: () => {
      reported = "";
      link.watched(store.engineTopics.watched);
      tellSupervisor({ type: "online" });
    },
    onWork,
    onOwners: ({ workers }) => {
      store.share(workers, endpoint);
      stream.flush();
      handing = handing.then(async () => {
        const left = await give();
        if (left > 0) warn(`${tag} ${left} topics wait for their next value: their data workers did not take them`);
      });
    },
    onStaleness: ({ topics }) => store.staleness.set(topics),
    onEvents: ({ topics, lost }, bodies) => {
      for (const [index, topic] of topics.entries()) publisher.event(topic, bodies[index] ?? "", lost?.[index] ?? 0);
      stream.flush();
    },
  });

  gate.onAccess(() => store.accessChanged());
  using _reports = new Pulse(beatIntervalMs, () => {
    const { report } = store;
    const text = JSON.stringify(report);
    if (text !== reported) link.reportStore(report);
    reported = text;
  });

  await new Promise<void>((resolve) => onLeaveRequest(resolve));
  tellSupervisor({ type: "recycle", why: "it was told to end" });
  const others = store.owners.dataWorkers.filter(({ publications }) => publications !== endpoint);
  if (others.length > 0) {
    link.leave();
    await link.goodbye();
    store.share(others, endpoint);
    await Promise.race([handing.then(give), Bun.sleep(leavingHandoverMs)]);
  }
  link.close();
  store.close();
  stream.close();
  terminateContext();
};

const bind = (who: string, address: string, start: () => void): void => {
  try {
    start();
  } catch (error) {
    throw error instanceof StartError ? error : new StartError(describeBindError(error, who, address));
  }
};

/** For `--verbose`. */
const sayValue = (tag: string, { name, newestPlace }: Topic): void => {
  // A printed line would be the next value of `$engine/log`, and so on for ever.
  if (newestPlace === null || name.startsWith(engineTopicPrefix)) return;
  const { payload } = partsOf(newestPlace);
  const { isUtf8 } = process.getBuiltinModule("node:buffer");
  say(`${tag} Received data: ${name} ${isUtf8(payload) ? payload.toString() : `${payload.length} bytes`}`);
};
