/**
 * A worker's connection to the router: it says READY whenever the connection stands (again), beats, takes work, and sends
 * answers, several in one message where they are ready together.
 */

import {
  answerDelayMs,
  beatIntervalMs,
  frameBytesHardMax,
  goodbyeMs,
  lingerMs,
  messageJobsMax,
  peerQueueMessagesMax,
  publishRetryMs,
  unsentTopicsMax,
} from "../limits.ts";
import { warn } from "../process/log.ts";
import {
  decodeFromRouter,
  encodeBackend,
  type ReadyHeader,
  type RouterHeader,
  type WorkerHeader,
} from "../protocol/backend.ts";
import { ProtocolError } from "../protocol/errors.ts";
import type { Frame } from "../protocol/frame.ts";
import { Pulse } from "../transport/pulse.ts";
import { ShmDealer } from "../transport/shm/dealer.ts";
import { canShareMemory } from "../transport/shm/memory.ts";
import { StartError } from "../transport/start-error.ts";
import { type Connection, lostConnection, saysLost } from "../transport/transport.ts";
import type { SocketOptions } from "../transport/zmq/options.ts";
import { Dealer } from "../transport/zmq/socket.ts";
import { Lateness } from "./lateness.ts";

export type WorkHeader = Extract<RouterHeader, { jobs: number[] }>;
export type AbortHeader = Extract<RouterHeader, { type: "ABORT" }>;
export type SafeHeader = Extract<RouterHeader, { type: "SAFE" }>;
export type StoppedHeader = Extract<RouterHeader, { type: "STOPPED" }>;

export interface BackendLinkOptions {
  /** The router's backend, `tcp://HOST:PORT`; for one of the engine's own workers its socket, `unix://PATH`. */
  readonly endpoint: string;
  /** The keys to connect with; none for a router without, nor for its socket. */
  readonly keys: SocketOptions;
  /** What this worker says of itself. */
  readonly ready: ReadyHeader;
  /** `[WORKER-<pid>(TASK)]`, before each line of the log. */
  readonly tag: string;
  /** The router knows this worker now; called again after each of the router's restarts. */
  readonly onWelcome: () => void;
  /** Work: as many bodies as the kind of it has, checked. `lateMs`: by how much it came later than it could have. */
  readonly onWork: (header: WorkHeader, bodies: readonly Frame[], lateMs: number) => void;
  /** A job is to end before its time. */
  readonly onAbort?: (header: AbortHeader) => void;
  /** A task's `onStop` is to be run. */
  readonly onSafe?: (header: SafeHeader) => void;
  /** An emergency stop, or that there is none. */
  readonly onStopped?: (header: StoppedHeader) => void;
  /** The connection is lost, or this worker is not admitted any more: the router has given up what is held here. */
  readonly onLost?: () => void;
}

const localScheme = "unix://";

interface Answers {
  readonly type: "DONE" | "FAIL";
  readonly jobs: number[];
  readonly ms: number[];
  readonly unsafe: number[];
  readonly bodies: Frame[];
  readonly sinceMs: number;
}

interface Publication {
  readonly topic: string;
  readonly body: string;
  readonly task: string;
}

export class BackendLink {
  readonly #options: BackendLinkOptions;
  readonly #socket: Connection;
  readonly #beats: Pulse;
  #answers: Answers | null = null;
  readonly #goodbye = Promise.withResolvers<void>();
  readonly #lateness = new Lateness();
  #garbageSeen = false;
  /** Publications that the router has not taken yet, by topic. */
  readonly #unsent = new Map<string, Publication>();
  #resend: Timer | null = null;
  #hasLost = false;
  /** What the router has said last of why it does not admit us. */
  #refusal: string | null = null;

  constructor(options: BackendLinkOptions) {
    this.#options = options;
    this.#socket = dial(options);
    this.#socket.onReadable(() => this.#receive());
    this.#beats = new Pulse(beatIntervalMs, () => this.#send({ type: "BEAT" }));
  }

  /**
   * Answers a job; the answer waits for others that are ready together until `flush`. `isUnsafe`: its task's `onStop` was due
   * and has failed.
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

  flush(): void {
    if (this.#answers === null) return;
    const { type, jobs, ms, unsafe, bodies } = this.#answers;
    this.#answers = null;
    this.#send({ type, jobs, ms, ...(unsafe.length > 0 && { unsafe }) }, bodies);
  }

  /** A job has let go, and its task's `onStop` begins, which may block this process: what is done before goes first. */
  safing(job: number): void {
    this.flush();
    this.#send({ type: "SAFING", job });
  }

  /** A job that has not begun, and is for somebody else. */
  giveBack(job: number): void {
    this.#send({ type: "RETURN", jobs: [job] });
  }

  progress(job: number, body: string): void {
    this.#send({ type: "PROGRESS", job }, [body]);
  }

  /** Asks for no more jobs. */
  leave(): void {
    this.#send({ type: "LEAVE" });
  }

  /** Waits, within bounds, until the router knows that nothing is held here. */
  async goodbye(): Promise<void> {
    this.flush();
    await Promise.race([this.#goodbye.promise, Bun.sleep(goodbyeMs)]);
  }

  /** False where it is lost. What the router does not take yet waits, the newest of each topic. */
  publish(topic: string, body: string, task: string): boolean {
    const publication: Publication = { topic, body, task };
    if (this.#unsent.size === 0 && this.#tryPublish(publication)) return true;
    const isLost = this.#socket.closed || (this.#unsent.size >= unsentTopicsMax && !this.#unsent.has(topic));
    if (!this.#hasLost && (isLost || this.#unsent.has(topic))) {
      this.#hasLost = true;
      const what = isLost ? "is lost" : "is replaced by a newer one before the router has read it";
      warn(`${this.#options.tag} A publication of task ${task} to ${topic} ${what}; further ones are so in silence`);
    }
    if (isLost) return false;
    this.#unsent.set(topic, publication);
    this.#resend ??= setTimeout(() => this.#publishUnsent(), publishRetryMs);
    return true;
  }

  #publishUnsent(): void {
    this.#resend = null;
    for (const [topic, publication] of this.#unsent) {
      if (!this.#tryPublish(publication)) break;
      this.#unsent.delete(topic);
    }
    if (this.#unsent.size > 0 && !this.#socket.closed)
      this.#resend = setTimeout(() => this.#publishUnsent(), publishRetryMs);
  }

  #tryPublish({ topic, body, task }: Publication): boolean {
    if (this.#socket.closed) return false;
    return this.#socket.trySend(encodeBackend({ type: "PUBLISH", topic, task }, [body])) === "sent";
  }

  close(): void {
    this.#beats[Symbol.dispose]();
    this.flush();
    if (this.#resend !== null) clearTimeout(this.#resend);
    this.#publishUnsent();
    this.#socket.close();
  }

  #send(header: WorkerHeader, bodies: readonly Frame[] = []): void {
    if (this.#socket.closed) return;
    const result = this.#socket.trySend(encodeBackend(header, bodies));
    // Without a connection the queue fills with beats; what else is lost then belongs to a router that no longer is.
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
      if (message instanceof ProtocolError) {
        this.#reportGarbage(message);
        continue;
      }
      const { header, bodies } = message;
      if (header.type === "WELCOME") this.#lateness.reset();
      const lateMs = "at" in header && header.at !== undefined ? this.#lateness.of(header.at, performance.now()) : 0;
      if (header.type === "WELCOME") this.#welcome();
      else if (header.type === "REFUSED") this.#refused(header.message);
      else if (header.type === "WHO") this.#send(this.#options.ready);
      else if (header.type === "GOODBYE") this.#goodbye.resolve();
      else if (header.type === "ABORT") this.#options.onAbort?.(header);
      else if (header.type === "SAFE") this.#options.onSafe?.(header);
      else if (header.type === "STOPPED") this.#options.onStopped?.(header);
      else if (header.type !== "BEAT") this.#options.onWork(header, bodies, lateMs);
    }
  }

  #welcome(): void {
    this.#refusal = null;
    this.#options.onWelcome();
  }

  /** It may be admitted later, once there is room for it or its rights have been changed: each BEAT asks anew. */
  #refused(message: string): void {
    this.#options.onLost?.();
    if (message === this.#refusal) return;
    this.#refusal = message;
    warn(`${this.#options.tag} Not admitted by the router: ${message}; trying on`);
  }

  /** Once, not once a message. */
  #reportGarbage(error: ProtocolError): void {
    if (this.#garbageSeen) return;
    this.#garbageSeen = true;
    warn(`${this.#options.tag} Dropped a message of the router: ${error.message}; further ones are dropped in silence`);
  }
}

/** READY is said at every connection, so a router that has been started anew knows us at once. */
const dial = ({ endpoint, keys, ready }: BackendLinkOptions): Connection => {
  const hello = JSON.stringify(ready);
  if (endpoint.startsWith(localScheme)) {
    if (!canShareMemory()) {
      throw new StartError(
        "a worker cannot share memory with its router: memfd_create(2) or mmap(2) is refused; look for a limit on file size or address space (ulimit -f, -v)",
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
