/** Publications of tasks: if the router does not take them yet, the newest of each topic waits. */
import { publishRetryMs, unsentTopicsMax } from "../limits.ts";
import { encodeBackend } from "../protocol/backend.ts";
import type { Frame } from "../protocol/frame.ts";
import { warn } from "./log.ts";

interface TaskPublication {
  readonly topic: string;
  /** a DATA frame */
  readonly body: string;
  readonly task: string;
}

/** The part of a connection that this needs. */
interface PublicationSocket {
  readonly closed: boolean;
  /** Sends a whole message ("sent"), or nothing. */
  trySend(frames: readonly Frame[]): string;
}

export class RouterPublications {
  readonly #unsent = new Map<string, TaskPublication>();
  #retry: Timer | undefined;
  #hasWarned = false;

  /** @param tag begins each line of the log */
  constructor(
    private readonly socket: PublicationSocket,
    private readonly tag: string,
  ) {}

  /** Returns false if the publication is lost. */
  publish(topic: string, body: string, task: string): boolean {
    const publication: TaskPublication = { topic, body, task };
    if (this.#unsent.size === 0 && this.#trySend(publication)) return true;
    const isReplacing = this.#unsent.has(topic);
    const isLost = this.socket.closed || (this.#unsent.size >= unsentTopicsMax && !isReplacing);
    if (!this.#hasWarned && (isLost || isReplacing)) {
      this.#hasWarned = true;
      const what = isLost ? "is lost" : "is replaced by a newer one before the router has read it";
      warn(`${this.tag} A publication of task ${task} to ${topic} ${what}; further ones are not logged`);
    }
    if (isLost) return false;
    this.#unsent.set(topic, publication);
    this.#retry ??= setTimeout(() => this.#sendUnsent(), publishRetryMs);
    return true;
  }

  /** Tries the waiting ones a last time. To be called before the socket is closed. */
  close(): void {
    clearTimeout(this.#retry);
    this.#sendUnsent();
    clearTimeout(this.#retry);
  }

  #sendUnsent(): void {
    this.#retry = undefined;
    for (const [topic, publication] of this.#unsent) {
      if (!this.#trySend(publication)) break;
      this.#unsent.delete(topic);
    }
    if (this.#unsent.size > 0 && !this.socket.closed)
      this.#retry = setTimeout(() => this.#sendUnsent(), publishRetryMs);
  }

  #trySend({ topic, body, task }: TaskPublication): boolean {
    return (
      !this.socket.closed && this.socket.trySend(encodeBackend({ type: "PUBLISH", topic, task }, [body])) === "sent"
    );
  }
}
