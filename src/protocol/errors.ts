/**
 * Error codes: a closed list, the same words on the wire, in PROTOCOL.md and at the command line.
 */
import { errorMessageLengthMax } from "../limits.ts";

export const errorCodes = {
  BAD_FRAME: "a frame violates the protocol",
  UNSUPPORTED_VERSION: "the protocol version is not one of 0.1, 0.2 and 0.3",
  TOO_LARGE: "a frame or the message is larger than the limit",
  UNKNOWN_TASK: "no task of that name is registered",
  UNKNOWN_TOPIC: "no value of that topic is known",
  UNKNOWN_JOB: "no job of that id is known, any more or at all",
  UNKNOWN_COMMAND: "CONTROL has no command of that name",
  UNAUTHORIZED: "the client lacks the right",
  BAD_ARGS: "the task does not accept the arguments",
  NOT_DURABLE: "the task does not allow what was asked to outlive a restart",
  UNCONFIRMED: "that may move something, and the request does not confirm it",
  STORE_FULL: "there is no memory or disk space to keep it",
  QUEUE_FULL: "a queue, or the share of one client, is full",
  UNKNOWN_SERIAL: "no request of that serial waits or runs",
  EXPIRED: "the job was not started within its ttlMs, and never will be",
  TIMEOUT: "the job ran longer than its timeoutMs",
  CANCELLED: "the job was cancelled",
  STOPPED: "the engine is in emergency stop, until it is reset",
  DEADMAN: "the requestor was silent for its deadmanMs",
  SUPERSEDED: "a newer job with the same `latest` key has taken its place",
  PREEMPTED: "a job of higher priority needed its resources",
  INTERRUPTED: "the worker died while the job may have been running",
  POISONOUS: "the job has killed its worker too often to be tried again",
  TASK_ERROR: "the task threw, or its result cannot be sent",
  UNAVAILABLE: "no worker serves it, or it is quarantined or locked",
  SHUTTING_DOWN: "the engine is stopping",
} as const;

export type ErrorCode = keyof typeof errorCodes;

/**
 * The reason why received bytes are no message. A `decode…` function returns it, and an ERR
 * carries it.
 */
export class ProtocolError {
  constructor(
    readonly code: ErrorCode,
    /** One line that names the frame and the field. */
    readonly message: string,
  ) {}
}

/**
 * The engine's own codes, and those of the client:
 * `NO_ANSWER`: nothing came back in time; `message` says whether the request may have reached the
 * engine.
 * `CLOSED`: the client was closed before the answer was there.
 */
export type ClientErrorCode = ErrorCode | "NO_ANSWER" | "CLOSED";

/** A request that was not done. `code` is one of a closed list, `message` one line for a person. */
export class TaskEngineError extends Error {
  override readonly name = "TaskEngineError";
  constructor(
    readonly code: ClientErrorCode,
    message: string,
  ) {
    super(message);
  }
}

/** Keeps a message to a person in bounds. */
export const shorten = (message: string): string =>
  message.length <= errorMessageLengthMax ? message : `${message.slice(0, errorMessageLengthMax - 1)}…`;

/** The body of every ERR: `data` of its DATA frame. */
export interface ErrorBody {
  readonly code: ErrorCode;
  readonly message: string;
}
