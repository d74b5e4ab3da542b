/** The parts of messages as they travel: see `transport/shm/framing.ts`. */
import { sizeBytes } from "../transport/shm/framing.ts";

/** A framed message with its length is `bytes` from `start` to `end`. */
export interface Place {
  readonly bytes: Buffer;
  readonly start: number;
  readonly end: number;
}

/**
 * The frames of a message without its length, not copied; null if their lengths do not fit into it.
 */
export const framesIn = (bytes: Buffer, start: number, end: number): Buffer[] | null => {
  const frames: Buffer[] = [];
  for (let at = start; at < end; ) {
    const from = at + sizeBytes;
    at = from <= end ? from + bytes.readUInt32LE(at) : end + 1;
    if (at > end) return null;
    frames.push(bytes.subarray(from, at));
  }
  return frames;
};

/** The parts of a framed value without its length; null if they do not fit into it. */
export const placesIn = (raw: Buffer, start: number, end: number): ValuePlaces | null => {
  const nameEnd = start + sizeBytes + raw.readUInt32LE(start);
  const metaAt = nameEnd + sizeBytes;
  if (metaAt > end) return null;
  const metaEnd = metaAt + raw.readUInt32LE(nameEnd);
  const payloadAt = metaEnd + sizeBytes;
  if (payloadAt > end || payloadAt + raw.readUInt32LE(metaEnd) !== end) return null;
  return { nameAt: start + sizeBytes, nameEnd, metaAt, metaEnd };
};

export interface ValuePlaces {
  readonly nameAt: number;
  readonly nameEnd: number;
  readonly metaAt: number;
  readonly metaEnd: number;
}

/** The frames of a value after its topic. */
interface ValueParts {
  readonly meta: Buffer;
  readonly payload: Buffer;
}

/** @param place of a value that a log has */
export const partsOf = ({ bytes, start, end }: Place): ValueParts => {
  const places = placesIn(bytes, start + sizeBytes, end);
  if (places === null) throw new Error("a value of a log is damaged");
  const { metaAt, metaEnd } = places;
  return { meta: bytes.subarray(metaAt, metaEnd), payload: bytes.subarray(metaEnd + sizeBytes, end) };
};
