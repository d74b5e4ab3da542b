/** Failures as HTTP answers: `{code, message}` with the status that fits the code. */
import { ProtocolError, TaskEngineError } from "../protocol/errors.ts";

/** The gateway's own codes, beside those of the engine. */
type GatewayCode = "NO_TOKEN" | "WRONG_ORIGIN" | "NOT_FOUND" | "WRONG_METHOD";

const statuses: Readonly<Record<string, number>> = {
  BAD_ARGS: 400,
  BAD_FRAME: 400,
  UNSUPPORTED_VERSION: 400,
  NOT_DURABLE: 400,
  NO_TOKEN: 401,
  UNAUTHORIZED: 403,
  WRONG_ORIGIN: 403,
  UNKNOWN_TASK: 404,
  UNKNOWN_TOPIC: 404,
  UNKNOWN_SERIAL: 404,
  UNKNOWN_JOB: 404,
  NOT_FOUND: 404,
  WRONG_METHOD: 405,
  STOPPED: 409,
  UNCONFIRMED: 409,
  CANCELLED: 409,
  DEADMAN: 409,
  SUPERSEDED: 409,
  PREEMPTED: 409,
  TOO_LARGE: 413,
  QUEUE_FULL: 429,
  TASK_ERROR: 500,
  INTERRUPTED: 500,
  POISONOUS: 500,
  UNKNOWN_COMMAND: 501,
  UNAVAILABLE: 503,
  QUARANTINED: 503,
  SHUTTING_DOWN: 503,
  STORE_FULL: 503,
  CLOSED: 503,
  TIMEOUT: 504,
  EXPIRED: 504,
  NO_ANSWER: 504,
};

/** The statuses of failures, for the description of the API. */
export const failureStatuses: readonly number[] = [...new Set(Object.values(statuses))].sort();

/** A request that the gateway itself refuses. */
export class HttpError extends Error {
  override readonly name = "HttpError";
  constructor(
    readonly code: GatewayCode | TaskEngineError["code"],
    message: string,
    readonly headers: Readonly<Record<string, string>> = {},
  ) {
    super(message);
  }
}

export interface Failure {
  readonly code: string;
  readonly message: string;
}

/**
 * The code and the message of whatever a request has failed by. Throws on what is a fault of this
 * program.
 */
export const failureOf = (error: unknown): Failure => {
  if (error instanceof HttpError || error instanceof TaskEngineError || error instanceof ProtocolError) {
    return { code: error.code, message: error.message };
  }
  throw error;
};

/** Rethrows what is a fault of this program. */
export const failureAnswer = (error: unknown): Response => {
  const { code, message } = failureOf(error);
  const headers = error instanceof HttpError ? error.headers : {};
  return Response.json({ code, message }, { status: statuses[code] ?? 500, headers });
};
