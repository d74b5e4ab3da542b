/**
 * A worker's connection to the router: says READY whenever it stands (again), beats, takes work,
 * and sends answers, several in one message if they are ready together.
 */
import {
  answerDelayMs,
  beatIntervalMs,
  frameBytesHardMax,
  goodbyeMs,
  lingerMs,
  messageJobsMax,
  peerQueueMessagesMax,
} from "../limits.ts";
import {
  decodeFromRouter,
  encodeBackend,
  type ReadyHeader,
  type RouterHeader,
  type WorkerHeader,
} from "../protocol/backend.ts";
import { ProtocolError } from "../protocol/errors.ts";
import type { Frame } from "../protocol/frame.ts";
import type { SourceReport, StoreReport } from "../protocol/reports.ts";
import type { BinaryType } from "../protocol/values.ts";
import { Pulse } from "../transport/pulse.ts";
import { ShmDealer } from "../transport/shm/dealer.ts";
import { canShareMemory } from "../transport/shm/memory.ts";
import { StartError } from "../transport/start-error.ts";
import { type Connection, lostConnection, saysLost } from "../transport/transport.ts";
import type { SocketOptions } from "../transport/zmq/options.ts";
import { Dealer } from "../transport/zmq/socket.ts";
import { Lateness } from "./lateness.ts";
import { warn } from "./log.ts";

export type WorkHeader = Extract<RouterHeader, { jobs: number[] }>;
type AbortHeader = Extract<RouterHeader, { type: "ABORT" }>;
export type SafeHeader = Extract<RouterHeader, { type: "SAFE" }>;
type OwnersHeader = Extract<RouterHeader, { type: "OWNERS" }>;
export type StalenessHeader = Extract<RouterHeader, { type: "STALENESS" }>;
type EventsHeader = Extract<RouterHeader, { type: "EVENTS" }>;
export type JournalHeader = Extract<RouterHeader, { type: "APPEND" | "RECOVER" | "LOGS" }>;
type StoppedHeader = Extract<RouterHeader, { type: "STOPPED" }>;

interface BackendLinkOptions {
  /** The router's backend: `tcp://HOST:PORT`, or `unix://PATH` for the engine's own workers. */
  readonly endpoint: string;
  /** CURVE keys; empty for a router without keys, and for its socket. */
  readonly keys: SocketOptions;
  readonly ready: ReadyHeader;
  /** `[WORKER-<pid>(TASK)]`, before each line of the log. */
  readonly tag: string;
  /** The router knows this worker now; called again after each of the router's restarts. */
  readonly onWelcome: () => void;
  /** `bodies`: one for each job, none for GET. `lateMs`: see `Lateness`. */
  readonly onWork: (header: WorkHeader, bodies: readonly Frame[], lateMs: number) => void;
  readonly onAbort?: (header: AbortHeader) => void;
  readonly onSafe?: (header: SafeHeader) => void;
  readonly onStopped?: (header: StoppedHeader) => void;
  /** `bodies`: one DATA frame for each topic. */
  readonly onEvents?: (header: EventsHeader, bodies: readonly Frame[]) => void;
  /** The data workers that share the topics, to one of them or after `askOwners`. */
  readonly onOwners?: (header: OwnersHeader) => void;
  /** To a data worker: topics that must have a value each `staleMs`. */
  readonly onStaleness?: (header: StalenessHeader) => void;
  /** To the journal. */
  readonly onJournal?: (header: JournalHeader, bodies: readonly Frame[]) => void;
  /** The connection or the admission is lost: the router has given up the jobs here. */
  readonly onLost?: () => void;
}

/** Answers of one type that leave in one message. */
interface AnswerMessage {
  readonly type: "DONE" | "FAIL";
  readonly jobs: number[];
  readonly ms: number[];
  readonly unsafe: number[];
  readonly bodies: Frame[];
  readonly sinceMs: number;
}

export class BackendLink {
  readonly #options: BackendLinkOptions;
  readonly #socket: Connection;
  readonly #beats: Pulse;
  /** Answers that wait for `flush`; null for none. */
  #answers: AnswerMessage | null = null;
  readonly #lateness = new Lateness();
  readonly #goodbye = Promise.withResolvers<void>();
  /** The last reason of the router for not admitting this worker; null once it is admitted. */
  #refusal: string | null = null;
  #hasWarnedOfGarbage = false;

  constructor(options: BackendLinkOptions) {
    this.#options = options;
    this.#socket = connectToRouter(options);
    this.#socket.onReadable(() => this.#receive());
    this.#beats = new Pulse(beatIntervalMs, () => this.#send({ type: "BEAT" }));
  }

  /**
   * Answers a job, together with others that are ready before the next `flush`.
   * @param isUnsafe the `onStop` of its task was due and has failed
   */
  answer(type: "DONE" | "FAIL", job: number, ms: number, body: Frame, isUnsafe = false): void {
    if (this.#answers?.type !== type) this.flush();
    this.#answers ??= { type, jobs: [], ms: [], unsafe: [], bodies: [], sinceMs: performance.now() };
    if (isUnsafe) this.#answers.unsafe.push(job);
    this.#answers.jobs.push(job);
    this.#answers.ms.push(ms);
    this.#answers.bodies.push(body);
    const { jobs, sinceMs } = this.#answers;
    if (jobs.length >= messageJobsMax || performance.now() - sinceMs >= answerDelayMs) this.flush();
  }

  /** Answers a job with bytes, in a message of its own. */
  answerBinary(job: number, ms: number, body: Frame, contentType: BinaryType): void {
    this.flush();
    const { shape, ...type } = contentType;
    const contentTypes = [shape === undefined ? type : { ...type, shape: [...shape] }];
    this.#send({ type: "DONE", jobs: [job], ms: [ms], contentTypes }, [body]);
  }

  flush(): void {
    if (this.#answers === null) return;
    const { type, jobs, ms, unsafe, bodies } = this.#answers;
    this.#answers = null;
    this.#send({ type, jobs, ms, ...(unsafe.length > 0 && { unsafe }) }, bodies);
  }

  /** The `onStop` of the job begins. It may block this process, so earlier answers leave first. */
  safing(job: number): void {
    this.flush();
    this.#send({ type: "SAFING", job });
  }

  /** Returns a job that has not begun, for another worker. */
  giveBack(job: number): void {
    this.#send({ type: "RETURN", jobs: [job] });
  }

  /** A line of the log of a job. */
  log(job: number, body: string): void {
    this.#send({ type: "LOG", job }, [body]);
  }

  progress(job: number, body: string): void {
    this.#send({ type: "PROGRESS", job }, [body]);
  }

  /** Takes a publication, a DATA frame; returns false if the router does not read. */
  publish(topic: string, body: string, task: string): boolean {
    if (this.#socket.closed) return false;
    return this.#socket.trySend(encodeBackend({ type: "PUBLISH", topic, task }, [body])) === "sent";
  }

  /** Asks for OWNERS, now and at each change; again after each WELCOME. */
  askOwners(): void {
    this.#send({ type: "OWNERS" });
  }

  /** The engine's own topics that have subscribers here. */
  watched(topics: readonly string[]): void {
    this.#send({ type: "WATCHED", topics: [...topics] });
  }

  /** How the sources here fare. */
  report(sources: SourceReport[]): void {
    this.#send({ type: "SOURCES", sources });
  }

  /** Reports the values that a data worker keeps. */
  reportStore(report: StoreReport): void {
    this.#send({ type: "STORE", ...report });
  }

  /** Sends a message of the journal. */
  journal(
    header: Extract<WorkerHeader, { type: "COMMITTED" | "RECOVERED" | "LOGGED" | "JOURNAL" }>,
    bodies?: readonly Frame[],
  ): void {
    this.#send(header, bodies);
  }

  /** Asks for no more jobs. */
  leave(): void {
    this.#send({ type: "LEAVE" });
  }

  /** Waits, at most `goodbyeMs`, until the router knows that nothing is held here. */
  async goodbye(): Promise<void> {
    this.flush();
    await Promise.race([this.#goodbye.promise, Bun.sleep(goodbyeMs)]);
  }

  close(): void {
    this.#beats[Symbol.dispose]();
    this.flush();
    this.#socket.close();
  }

  #send(header: WorkerHeader, bodies: readonly Frame[] = []): void {
    if (this.#socket.closed) return;
    const result = this.#socket.trySend(encodeBackend(header, bodies));
    // Without a connection the queue fills with beats; any other loss concerns a router that is
    // gone.
    if (result !== "sent" && header.type !== "BEAT") {
      warn(`${this.#options.tag} Lost ${header.type}: the router does not read`);
    }
  }

  #receive(): void {
    for (let frames = this.#socket.tryReceive(); frames !== null; frames = this.#socket.tryReceive()) {
      if (saysLost(frames)) {
        this.#options.onLost?.();
        continue;
      }
      const message = decodeFromRouter(frames);
      if (message instanceof ProtocolError) this.#warnOfGarbage(message);
      else this.#handle(message.header, message.bodies);
    }
  }

  #handle(header: RouterHeader, bodies: readonly Frame[]): void {
    if (header.type === "WELCOME") this.#lateness.reset();
    const lateMs = "at" in header && header.at !== undefined ? this.#lateness.of(header.at, performance.now()) : 0;
    if (header.type === "WELCOME") this.#welcome();
    else if (header.type === "REFUSED") this.#refused(header.message);
    else if (header.type === "WHO") this.#send(this.#options.ready);
    else if (header.type === "GOODBYE") this.#goodbye.resolve();
    else if (header.type === "ABORT") this.#options.onAbort?.(header);
    else if (header.type === "SAFE") this.#options.onSafe?.(header);
    else if (header.type === "STOPPED") this.#options.onStopped?.(header);
    else if (header.type === "STALENESS") this.#options.onStaleness?.(header);
    else if (header.type === "OWNERS") this.#options.onOwners?.(header);
    else if (header.type === "EVENTS") this.#takeEvents(header, bodies);
    else if (header.type === "APPEND" || header.type === "RECOVER" || header.type === "LOGS") {
      this.#options.onJournal?.(header, bodies);
    } else if (header.type !== "BEAT") this.#options.onWork(header, bodies, lateMs);
  }

  #takeEvents(header: EventsHeader, bodies: readonly Frame[]): void {
    this.#options.onEvents?.(header, bodies);
    this.#send({ type: "HEARD" });
  }

  #welcome(): void {
    this.#refusal = null;
    this.#options.onWelcome();
  }

  /** It may be admitted later, with more room or other rights: each BEAT asks anew. */
  #refused(message: string): void {
    this.#options.onLost?.();
    if (message === this.#refusal) return;
    this.#refusal = message;
    warn(`${this.#options.tag} Not admitted by the router: ${message}; retrying`);
  }

  #warnOfGarbage({ message }: ProtocolError): void {
    if (this.#hasWarnedOfGarbage) return;
    this.#hasWarnedOfGarbage = true;
    warn(`${this.#options.tag} Dropped a message of the router: ${message}; further ones are not logged`);
  }
}

const localScheme = "unix://";

/** The socket says READY at each connection, so a restarted router knows this worker at once. */
const connectToRouter = ({ endpoint, keys, ready }: BackendLinkOptions): Connection => {
  const hello = JSON.stringify(ready);
  if (endpoint.startsWith(localScheme)) {
    if (!canShareMemory()) {
      throw new StartError(
        "a worker cannot share memory with its router: memfd_create(2) or mmap(2) is refused; " +
          "look for a limit on file size or address space (ulimit -f, -v)",
      );
    }
    return new ShmDealer(endpoint.slice(localScheme.length), hello);
  }
  const dealer = new Dealer({
    ...keys,
    helloMessage: hello,
    hiccupMessage: lostConnection,
    linger: lingerMs,
    maxMessageSize: frameBytesHardMax,
    sendHighWaterMark: peerQueueMessagesMax,
    receiveHighWaterMark: peerQueueMessagesMax,
    reconnectInterval: 50,
    reconnectIntervalMax: 1000,
  });
  dealer.connect(endpoint);
  return dealer;
};
