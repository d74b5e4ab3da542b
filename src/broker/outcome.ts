/** How jobs end. */
import { retryBackoffMs, triesDefault } from "../limits.ts";
import { type ErrorCode, errorCodes, ProtocolError } from "../protocol/errors.ts";
import type { Frame } from "../protocol/frame.ts";
import { checkFrame, dataSchema, decodeObject, encodeError } from "../protocol/frames.ts";
import type { Policy } from "../protocol/policy.ts";

/** `body`: its DATA frame; that of an ERR has `{code, message}`. `by`: who answers, META's `id`. */
export interface Outcome {
  readonly type: "ACK" | "ERR";
  readonly by: string;
  /** null for an ACK */
  readonly code: ErrorCode | null;
  readonly body: Frame;
}

export const failure = (by: string, code: ErrorCode, message: string): Outcome => ({
  type: "ERR",
  by,
  code,
  body: encodeError(code, message),
});

/** What a worker says of a job that failed. What it says amiss is put right, since the codes are a closed list. */
export const failureBy = (by: string, body: Frame): Outcome => {
  const frame = decodeObject(body, "DATA");
  const data = frame instanceof ProtocolError ? null : frame.data;
  const { code, message } = typeof data === "object" && data !== null && !Array.isArray(data) ? data : {};
  const known = typeof code === "string" && Object.hasOwn(errorCodes, code) ? (code as ErrorCode) : null;
  if (known !== null && typeof message === "string") return { type: "ERR", by, code: known, body };
  return failure(by, known ?? "TASK_ERROR", typeof message === "string" ? message : `worker ${by} gave no reason`);
};

/** Of an ERR. */
export const messageIn = (body: Frame): string => {
  const frame = decodeObject(body, "DATA");
  const data = frame instanceof ProtocolError ? null : frame.data;
  return typeof data === "object" && data !== null && "message" in data ? String(data.message) : "it gave no reason";
};

/** What a worker of the engine's own says: it has been encoded by the very code that would check it here. */
export const success = (by: string, body: Frame): Outcome => ({ type: "ACK", by, code: null, body });

/** What a worker says that somebody else has written. */
export const successOfStranger = (by: string, body: Frame): Outcome => {
  const mistake = mistakeInData(body);
  if (mistake === null) return success(by, body);
  return failure(by, "TASK_ERROR", `worker ${by} answered with something else than a DATA frame: ${mistake}`);
};

/** Why that is no DATA frame, in one line; null where it is one. */
export const mistakeInData = (body: Frame): string | null => {
  const frame = decodeObject(body, "DATA");
  const data = frame instanceof ProtocolError ? frame : checkFrame(dataSchema, frame, "DATA");
  return data instanceof ProtocolError ? data.message : null;
};

/** How a task is tried again. `tries`: in all. */
export interface Idempotence {
  readonly tries: number;
  readonly backoffMs: number;
  readonly onError: boolean;
}

/** Null for a task that may run once only. */
export const idempotence = (policy: Policy | undefined): Idempotence | null => {
  const declared = policy?.idempotent;
  if (declared === undefined || declared === false) return null;
  const { tries = triesDefault, backoffMs = retryBackoffMs, onError = false } = declared === true ? {} : declared;
  return { tries, backoffMs, onError };
};
