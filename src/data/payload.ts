/** The payload of a value that a program publishes. */
import { dataBytesMax } from "../limits.ts";
import { TaskEngineError } from "../protocol/errors.ts";
import { type Frame, isLonger, sizeOf } from "../protocol/frame.ts";
import { jsonText } from "../protocol/json-encode.ts";
import { isContentType, mistakeInType, type PayloadType } from "../protocol/values.ts";

/**
 * Encodes a value as JSON, or as the bytes of its type. Throws TaskEngineError, and JsonError for a
 * value that JSON has no text for.
 */
export const encodePayload = (value: unknown, type: PayloadType | null): Frame => {
  const payload = type === null ? jsonText(value, "data") : bytesFrom(value, type);
  if (isLonger(payload, dataBytesMax)) {
    throw new TaskEngineError("TOO_LARGE", `the value has ${sizeOf(payload)} bytes, the limit is ${dataBytesMax}`);
  }
  if (type?.contentType !== undefined && !isContentType(type.contentType)) {
    throw new TaskEngineError(
      "BAD_ARGS",
      `contentType ${JSON.stringify(type.contentType)} is not of the form image/jpeg`,
    );
  }
  const mistake = type === null ? null : mistakeInType(type, sizeOf(payload));
  if (mistake !== null) throw new TaskEngineError("BAD_ARGS", mistake.message);
  return payload;
};

const bytesFrom = (value: unknown, { contentType }: PayloadType): Frame => {
  if (typeof value === "string") return value;
  if (value instanceof Uint8Array) return value;
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  throw new TaskEngineError("BAD_ARGS", `a value of type ${contentType} must be bytes or text, not ${typeof value}`);
};
