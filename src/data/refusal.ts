/** Refusals of a data worker, as errors of the program. */
import { type ErrorCode, errorCodes, TaskEngineError } from "../protocol/errors.ts";
import { isJsonObject, type Json } from "../protocol/json.ts";

/** The topic belongs to another data worker, of which the engine tells. */
export class MovedError extends TaskEngineError {
  constructor() {
    super("UNAVAILABLE", "the topic has another data worker now; try again");
  }
}

/** An ERR of a data worker. */
export const refusalIn = (data: Json): { topic: string; error: TaskEngineError; count: number } => {
  const { code, message, topic, count } = (isJsonObject(data) ? data : {}) as Record<string, Json>;
  const known = typeof code === "string" && Object.hasOwn(errorCodes, code) ? (code as ErrorCode) : "BAD_FRAME";
  return {
    topic: typeof topic === "string" ? topic : "",
    error: new TaskEngineError(known, typeof message === "string" ? message : "the data worker does not say why"),
    count: typeof count === "number" ? count : 1,
  };
};
