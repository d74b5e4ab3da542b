/** Values of the data plane as DATA frames of 0.2, `{"data": …, "pack": …}`, and back. */
import { frameBytesMax } from "../limits.ts";
import { type ErrorBody, ProtocolError } from "../protocol/errors.ts";
import { type Frame, textOf } from "../protocol/frame.ts";
import { decodeObject } from "../protocol/schema.ts";
import { decodeValueMeta, mistakeInPayload } from "../protocol/values.ts";
import { type Place, partsOf } from "./framed.ts";

/** As `encodeData` writes it, or `encodeRequest` with its topic. */
const usualFrame = /^\{"data":(.*),"pack":([\d.eE+-]+)(?:,"topic":"[^"\\]*")?\}$/s;

interface Payload {
  /** JSON */
  readonly text: string;
  /** seconds since 1970, as text */
  readonly pack: string;
}

/** The value in a DATA frame: its text as it came, where the frame has its usual form. */
export const payloadIn = (frame: Frame): Payload | ProtocolError => {
  const [, text, pack] = usualFrame.exec(textOf(frame)) ?? [];
  // The text between is one value, and not a value and more keys, if it can be parsed.
  if (text !== undefined && pack !== undefined && isJson(text) && isJson(pack)) return { text, pack };
  const object = decodeObject(frame, "DATA");
  if (object instanceof ProtocolError) return object;
  const { data, pack: time } = object;
  if (data === undefined || typeof time !== "number")
    return new ProtocolError("BAD_FRAME", "DATA: no data, or no pack");
  return { text: JSON.stringify(data), pack: JSON.stringify(time) };
};

const isJson = (text: string): boolean => mistakeInPayload({}, text) === null;

/** A value for readers of 0.2. Returns why they cannot have it if it is no JSON, or too long. */
export const dataFrameOf = (topic: string, place: Place): string | ErrorBody => {
  const { meta, payload } = partsOf(place);
  const value = decodeValueMeta(meta);
  if (value instanceof ProtocolError) return { code: value.code, message: `topic ${topic}: ${value.message}` };
  if (value.contentType !== undefined) {
    const message = `topic ${topic}: the value is ${value.contentType}; only version 0.3 can read it`;
    return { code: "UNSUPPORTED_VERSION", message };
  }
  if (payload.length > frameBytesMax) {
    const message = `topic ${topic}: ${payload.length} bytes, the limit of version 0.2 is ${frameBytesMax}`;
    return { code: "TOO_LARGE", message };
  }
  const mistake = mistakeInPayload(value, payload);
  if (mistake !== null) return { code: mistake.code, message: `topic ${topic}: ${mistake.message}` };
  return `{"data":${payload.toString()},"pack":${value.pack}}`;
};
