/** The payload of a value that a program publishes. */
import { dataBytesMaxMax, nameLengthMax } from "../limits.ts";
import { TaskEngineError } from "../protocol/errors.ts";
import { type Frame, isLonger, sizeOf } from "../protocol/frame.ts";
import { jsonText } from "../protocol/json-encode.ts";
import { type ItemType, isContentType, mistakeInType, type PayloadType } from "../protocol/values.ts";

/**
 * Encodes a value as JSON, or as the bytes of its type. Throws TaskEngineError, and JsonError for a
 * value that JSON has no text for.
 */
export const encodePayload = (value: unknown, type: PayloadType | null): Frame => {
  const payload = type === null ? jsonText(value, "data") : bytesFrom(value, type);
  const tooLong = sizeMistake(payload, dataBytesMaxMax);
  if (tooLong !== null) throw tooLong;
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

/** @param bytesMax of a value, where it goes to */
export const sizeMistake = (payload: Frame, bytesMax: number): TaskEngineError | null =>
  isLonger(payload, bytesMax)
    ? new TaskEngineError("TOO_LARGE", `the value has ${sizeOf(payload)} bytes, the limit is ${bytesMax}`)
    : null;

const bytesFrom = (value: unknown, { contentType }: PayloadType): Frame => {
  if (typeof value === "string") return value;
  if (value instanceof Uint8Array) return value;
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  throw new TaskEngineError("BAD_ARGS", `a value of type ${contentType} must be bytes or text, not ${typeof value}`);
};

/** The type of a value of which the program says `options`; null for JSON. */
export const payloadTypeOf = (value: unknown, options: PayloadType | undefined): PayloadType | null => {
  if (options?.contentType !== undefined || options?.dtype !== undefined) {
    return options.contentType === undefined ? { ...options, contentType: bytesType } : options;
  }
  if (typeof value !== "object" || value === null) return null;
  if (value instanceof Uint8Array || value instanceof ArrayBuffer || value instanceof DataView) {
    return options?.shape === undefined ? plainBytes : { ...plainBytes, dtype: "uint8", shape: options.shape };
  }
  if (!ArrayBuffer.isView(value)) return null;
  const dtype = itemTypes.get(value.constructor.name);
  return dtype === undefined ? plainBytes : { contentType: bytesType, dtype, shape: options?.shape };
};

const bytesType = "application/octet-stream";
const plainBytes: PayloadType = { contentType: bytesType };

const itemTypes: ReadonlyMap<string, ItemType> = new Map([
  ["Int8Array", "int8"],
  ["Uint8ClampedArray", "uint8"],
  ["Int16Array", "int16"],
  ["Uint16Array", "uint16"],
  ["Float16Array", "float16"],
  ["Int32Array", "int32"],
  ["Uint32Array", "uint32"],
  ["Float32Array", "float32"],
  ["BigInt64Array", "int64"],
  ["BigUint64Array", "uint64"],
  ["Float64Array", "float64"],
]);

/** Bytes that the program may change after this. */
export const copyOf = (payload: Frame): Frame => (typeof payload === "string" ? payload : payload.slice());

/** Throws TaskEngineError for a topic that programs cannot publish. */
export const checkTopic = (topic: string): void => {
  if (typeof topic === "string" && topic !== "" && topic.length <= nameLengthMax && !/^\$|\0/.test(topic)) return;
  const rule = `a string of 1 to ${nameLengthMax} characters, without NUL, that does not begin with $`;
  throw new TaskEngineError("BAD_FRAME", `topic ${JSON.stringify(topic)?.slice(0, nameLengthMax)}: it must be ${rule}`);
};
