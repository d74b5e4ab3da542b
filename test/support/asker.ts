/** A requestor for tests that count: it keeps every reply that it ever gets, so that one too many is seen. */

import type { ControlInput } from "../../src/protocol/control.ts";
import { encodeControlRequest, encodeTaskRequest } from "../../src/protocol/encode-request.ts";
import { ProtocolError } from "../../src/protocol/errors.ts";
import type { Json } from "../../src/protocol/json.ts";
import type { TaskOptions } from "../../src/protocol/policy.ts";
import { decodeReply, type Reply } from "../../src/protocol/replies.ts";
import type { SocketOptions } from "../../src/transport/zmq/options.ts";
import { Dealer } from "../../src/transport/zmq/socket.ts";

/** ms. A test that waits as long has failed. */
const patienceMs = 120_000;

/** A terminal reply in short: the result, or the code of the error. */
export type Outcome = { readonly result: Json } | { readonly code: string };

export class Asker implements Disposable {
  readonly #socket: Dealer;
  readonly #outcomes = new Map<string, Outcome[]>();
  readonly #waiting = new Map<string, PromiseWithResolvers<Outcome>>();
  #serials = 0;
  #answered = 0;

  constructor(endpoint: string, keys: SocketOptions = {}) {
    this.#socket = new Dealer({ ...keys, sendHighWaterMark: 100_000, receiveHighWaterMark: 100_000 });
    this.#socket.connect(endpoint);
    this.#socket.onReadable(() => {
      for (let frames = this.#socket.tryReceive(); frames !== null; frames = this.#socket.tryReceive()) {
        const reply = decodeReply(frames.slice(1));
        if (reply instanceof ProtocolError) throw new Error(`the engine answered nonsense: ${reply.message}`);
        this.#hear(reply);
      }
    });
  }

  /** Sends a job; gives its serial. */
  send(task: string, args: readonly unknown[] = [], options: TaskOptions = {}): string {
    return this.#send((serial) => encodeTaskRequest({ id: "tester", serial }, task, args, {}, options));
  }

  /** Sends a job; gives its first terminal reply. */
  ask(task: string, args: readonly unknown[] = [], options: TaskOptions = {}): Promise<Outcome> {
    return this.outcome(this.send(task, args, options));
  }

  async control(control: ControlInput): Promise<Json> {
    const outcome = await this.outcome(this.#send((serial) => encodeControlRequest({ id: "tester", serial }, control)));
    if ("code" in outcome) throw new Error(`the engine refused ${control.command}: ${outcome.code}`);
    return outcome.result;
  }

  /** The first terminal reply to a job. */
  async outcome(serial: string): Promise<Outcome> {
    const { promise, reject } = this.#waiting.get(serial) ?? Promise.withResolvers<Outcome>();
    const timer = setTimeout(() => reject(new Error(`no reply to ${serial}`)), patienceMs);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Requests with a reply. */
  get answered(): number {
    return this.#answered;
  }

  /** Requests without. */
  get open(): number {
    return this.#serials - this.#answered;
  }

  /**
   * Waits until every job has its reply, and as long again as the engine needs to bring one more; then the replies to every
   * job that was sent, by serial.
   */
  async settled(): Promise<ReadonlyMap<string, readonly Outcome[]>> {
    for (const serial of this.#waiting.keys()) await this.outcome(serial);
    const jobs = new Map(this.#outcomes);
    await this.control({ command: "tasks" });
    return jobs;
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }

  #send(encode: (serial: string) => readonly string[]): string {
    const serial = `s-${this.#serials++}`;
    const answer = Promise.withResolvers<Outcome>();
    // Not every test waits for every answer.
    answer.promise.catch(() => undefined);
    this.#waiting.set(serial, answer);
    this.#outcomes.set(serial, []);
    const result = this.#socket.trySend(["", ...encode(serial)]);
    if (result !== "sent") throw new Error(`the test's own queue is ${result}`);
    return serial;
  }

  #hear(reply: Reply): void {
    if (reply.kind === "progress") return;
    const { serial = "" } = reply.meta;
    const outcome: Outcome =
      reply.kind === "ack"
        ? { result: reply.data ?? null }
        : { code: reply.kind === "error" ? reply.error.code : "a batch" };
    const outcomes = this.#outcomes.get(serial);
    if (outcomes === undefined) throw new Error(`a reply to ${serial}, which was never sent`);
    outcomes.push(outcome);
    if (outcomes.length === 1) this.#answered++;
    this.#waiting.get(serial)?.resolve(outcome);
  }
}
