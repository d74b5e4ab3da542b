/** The results of tasks, encoded: JSON, or else bytes. */
import { frameBytesMax } from "../limits.ts";
import { bytesIn, isBinary, typeOfArray } from "../protocol/arrays.ts";
import { ProtocolError } from "../protocol/errors.ts";
import { JsonError } from "../protocol/json.ts";
import { checkFrame } from "../protocol/schema.ts";
import { arrayType, type BinaryType, binaryTypeSchema, mistakeInType } from "../protocol/values.ts";
import { dataFrame } from "./context.ts";

/** The bytes of a binary result, and how to read them. */
export interface BinaryFrame {
  readonly data: Buffer;
  readonly contentType: BinaryType;
}

/**
 * A DATA frame, or for a typed array, a Buffer, an ArrayBuffer and a BinaryResult of task.ts their
 * bytes. `undefined` becomes null.
 * @throws JsonError for any other value, for a type that does not fit the bytes, and for a frame
 * above `frameBytesMax`
 */
export const encodeResult = (result: unknown): string | BinaryFrame => {
  try {
    return dataFrame(result ?? null, "result");
  } catch (notJson) {
    const binary = binaryOf(result);
    if (binary === null) throw notJson;
    return binary;
  }
};

const keys: readonly string[] = ["contentType", "dtype", "shape"];

const binaryOf = (result: unknown): BinaryFrame | null => {
  if (isBinary(result)) return { data: copyOf(result), contentType: typeOfArray(result, {}) };
  if (typeof result !== "object" || result === null || !("bytes" in result)) return null;
  const { bytes, ...given } = result;
  if (!isBinary(bytes)) return null;
  const unknown = Object.keys(given).find((key) => !keys.includes(key));
  if (unknown !== undefined) throw new JsonError(`result.${unknown} is not one of bytes, ${keys.join(", ")}`);
  const isTyped = "contentType" in given && given.contentType !== undefined;
  const type = checkFrame(binaryTypeSchema, isTyped ? given : { ...given, contentType: arrayType }, "result");
  if (type instanceof ProtocolError) throw new JsonError(type.message);
  const contentType = isTyped ? type : typeOfArray(bytes, type);
  const mistake = mistakeInType(contentType, bytes.byteLength);
  if (mistake !== null) throw new JsonError(mistake.message.replace(/^(META|payload)/, "result"));
  return { data: copyOf(bytes), contentType };
};

/** A task may fill one buffer again and again. */
const copyOf = (value: ArrayBufferView | ArrayBufferLike): Buffer => {
  if (value.byteLength <= frameBytesMax) return Buffer.from(bytesIn(value));
  throw new JsonError(`result has ${value.byteLength} bytes, the limit is ${frameBytesMax}`);
};
