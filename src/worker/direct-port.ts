/** A task worker's own port: requestors that skip the router send it the same frames and get the same answers. */
import {
  drainMessagesMax,
  envelopeFramesMax,
  frameBytesHardMax,
  lingerMs,
  messageFramesMax,
  peerQueueMessagesMax,
} from "../limits.ts";
import { openEnvelope } from "../wire/envelope.ts";
import type { ErrorCode } from "../wire/errors.ts";
import { encodeError, type Meta } from "../wire/frames.ts";
import { decodeRequest, encodeReplyMeta } from "../wire/requests.ts";
import { Router } from "../zmq/socket.ts";
import type { Executor, Outcome } from "./executor.ts";
import type { Registry } from "./task.ts";

export interface DirectPortOptions {
  /** `TASK-<pid>`: who answers. */
  readonly id: string;
  readonly executor: Executor;
  readonly registry: Registry;
  /** Is told of each message, where every message is to be printed. */
  readonly log?: (line: string) => void;
}

type Address = readonly Uint8Array[];
type Asked = Pick<Meta, "version" | "serial">;

export class DirectPort {
  readonly #options: DirectPortOptions;
  readonly #socket = new Router({
    mandatory: true,
    linger: lingerMs,
    maxMessageSize: frameBytesHardMax,
    sendHighWaterMark: peerQueueMessagesMax,
    receiveHighWaterMark: peerQueueMessagesMax,
  });

  constructor(options: DirectPortOptions) {
    this.#options = options;
  }

  /** Throws ZmqError where the port cannot be had. */
  bind(endpoint: string): void {
    this.#socket.bind(endpoint);
    this.#socket.onReadable(() => {
      for (let count = 0; count < drainMessagesMax; count++) {
        const message = this.#socket.tryReceive(envelopeFramesMax + messageFramesMax + 1);
        if (message === null) return;
        this.#receive(message);
      }
    });
  }

  close(): void {
    this.#socket.close();
  }

  #receive(message: Uint8Array[]): void {
    const { envelope, frames, error } = openEnvelope(message);
    if (error !== undefined) return this.#fail(envelope, { version: 0.1 }, error.code, error.message);
    const request = decodeRequest(frames);
    switch (request.kind) {
      case "bad":
        return this.#fail(envelope, request.meta ?? { version: 0.1 }, request.error.code, request.error.message);
      case "ping":
        return this.#send(envelope, [
          encodeReplyMeta(this.#options.id, "ACK", request.meta.version, request.meta.serial),
        ]);
      case "task":
        for (const { name, task } of request.parts) {
          this.#options.log?.(`Received task: ${JSON.stringify(task)}`);
          this.#run(envelope, request.meta, name, task);
        }
        return;
      default:
        return this.#fail(
          envelope,
          request.meta,
          "UNAVAILABLE",
          "a worker's own port takes tasks alone; send this to the router",
        );
    }
  }

  #run(envelope: Address, meta: Asked, name: string, task: Parameters<Executor["submit"]>[0]["task"]): void {
    const { executor, registry } = this.#options;
    if (!registry.has(name))
      return this.#fail(envelope, meta, "UNKNOWN_TASK", `this worker has no task ${JSON.stringify(name)}`);
    const accepted = executor.submit({
      name,
      task,
      serial: meta.serial ?? "",
      done: (outcome) => this.#answer(envelope, meta, outcome),
    });
    if (accepted === "full") this.#fail(envelope, meta, "QUEUE_FULL", "the worker's queue is full; ask again later");
  }

  #answer(envelope: Address, meta: Asked, outcome: Outcome): void {
    if (!outcome.ok) return this.#fail(envelope, meta, outcome.code, outcome.message);
    this.#options.log?.(`Task complete: ${outcome.data.toString()}`);
    const reply = encodeReplyMeta(this.#options.id, "ACK", meta.version, meta.serial);
    this.#send(envelope, meta.version === 0.1 ? [reply] : [reply, outcome.data]);
  }

  #fail(envelope: Address, meta: Asked, code: ErrorCode, message: string): void {
    this.#send(envelope, [
      encodeReplyMeta(this.#options.id, "ERR", meta.version, meta.serial),
      encodeError(code, message),
    ]);
  }

  #send(envelope: Address, frames: readonly Uint8Array[]): void {
    // A requestor that is gone or does not read has given up its answer; nobody else waits for it.
    this.#socket.trySend([...envelope, ...frames]);
  }
}
