/** Outcomes of jobs: the answers of workers, checked, and those of the broker itself. */
import { frameBytesMax } from "../limits.ts";
import { type ErrorCode, errorCodes, ProtocolError } from "../protocol/errors.ts";
import { type Frame, isLonger, sizeOf } from "../protocol/frame.ts";
import { dataSchema, encodeError } from "../protocol/frames.ts";
import { isJsonObject } from "../protocol/json.ts";
import { checkFrame, decodeObject } from "../protocol/schema.ts";
import { type BinaryType, mistakeInType } from "../protocol/values.ts";

export interface JobOutcome {
  readonly type: "ACK" | "ERR";
  /** META's `id` of the answer: the worker's, or the router's. */
  readonly by: string;
  /** null for an ACK. */
  readonly code: ErrorCode | null;
  /** The DATA frame; that of an ERR has `{code, message}`. */
  readonly body: Frame;
  /** Set where the body is no DATA frame, but the bytes of a binary result. */
  readonly contentType?: BinaryType;
}

/** DONE of a worker of the engine, which encodes with the code that would check it here. */
export const success = (by: string, body: Frame): JobOutcome => ({ type: "ACK", by, code: null, body });

/** DONE of any other worker. */
export const checkedSuccess = (by: string, body: Frame): JobOutcome => {
  const mistake = mistakeInData(body);
  if (mistake === null) return success(by, body);
  return failure(by, "TASK_ERROR", `worker ${by} answered with something else than a DATA frame: ${mistake}`);
};

/** DONE with a binary result, of any worker. */
export const binarySuccess = (by: string, body: Frame, contentType: BinaryType): JobOutcome => {
  const mistake = isLonger(body, frameBytesMax)
    ? `the result has ${sizeOf(body)} bytes, the limit is ${frameBytesMax}`
    : mistakeInType(contentType, sizeOf(body))?.message;
  if (mistake === undefined) return { type: "ACK", by, code: null, body, contentType };
  return failure(by, "TASK_ERROR", `worker ${by} answered with an invalid ${contentType.contentType}: ${mistake}`);
};

export const failure = (by: string, code: ErrorCode, message: string): JobOutcome => ({
  type: "ERR",
  by,
  code,
  body: encodeError(code, message),
});

/** FAIL of a worker. An unknown code becomes TASK_ERROR, because the list of codes is closed. */
export const failureBy = (by: string, body: Frame): JobOutcome => {
  const { code, message } = errorIn(body);
  const known = typeof code === "string" && Object.hasOwn(errorCodes, code) ? (code as ErrorCode) : null;
  if (known !== null && typeof message === "string") return { type: "ERR", by, code: known, body };
  return failure(by, known ?? "TASK_ERROR", typeof message === "string" ? message : `worker ${by} gave no reason`);
};

/** The message of the DATA frame of an ERR. */
export const messageIn = (body: Frame): string => String(errorIn(body).message ?? "it gave no reason");

const errorIn = (body: Frame): { readonly code?: unknown; readonly message?: unknown } => {
  const frame = decodeObject(body, "DATA");
  const data = frame instanceof ProtocolError ? null : frame.data;
  return isJsonObject(data) ? data : {};
};

/** Why a frame is no DATA frame, in one line; null if it is one. */
export const mistakeInData = (body: Frame): string | null => {
  const frame = decodeObject(body, "DATA");
  const data = frame instanceof ProtocolError ? frame : checkFrame(dataSchema, frame, "DATA");
  return data instanceof ProtocolError ? data.message : null;
};
