import type { ErrorCode } from "../protocol/errors.ts";

/**
 * The engine's own codes, and what only a client can tell:
 * `NO_ANSWER`: nothing came back in time; `message` says whether the request may have reached the engine.
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
