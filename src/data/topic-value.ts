/** A value of a topic as its reader gets it. Nothing of it is decoded before it is asked for. */
import { valueTextBytesMax } from "../limits.ts";
import { arrayOf, type BinaryData } from "../protocol/arrays.ts";
import { ProtocolError, TaskEngineError } from "../protocol/errors.ts";
import type { PackSeconds } from "../protocol/frames.ts";
import { type Json, JsonError, parseJson } from "../protocol/json.ts";
import { decodeValueMeta, epochFrom, type ItemType, type ValueMeta } from "../protocol/values.ts";
import { sizeBytes } from "../transport/shm/framing.ts";

export class TopicValue {
  private decodedMeta: ValueMeta | null = null;
  private decodedData: Json | Uint8Array | undefined;

  /**
   * @param seq the value's place among all of its topic and epoch, from 1; 0 where the engine is of
   * an earlier version and does not say
   * @param message META, the payload's length and the payload: as bytes, or as text with a
   * character for each byte
   */
  constructor(
    readonly topic: string,
    readonly seq: number,
    private readonly message: string | Buffer,
    private readonly metaEnd: number,
  ) {}

  /** A value of an engine of an earlier version, without a place in its topic. */
  static of(topic: string, data: Json, pack: PackSeconds): TopicValue {
    const value = new TopicValue(topic, 0, "", 0);
    value.decodedMeta = { seq: 0, epoch: "", pack };
    value.decodedData = data;
    return value;
  }

  /** JSON's value, or bytes where there is a `contentType`. Throws TaskEngineError, BAD_FRAME. */
  get data(): Json | Uint8Array {
    this.decodedData ??= this.isBinary ? this.bytes : this.parsed();
    return this.decodedData;
  }

  /** When it was published, in seconds since 1970. */
  get pack(): PackSeconds {
    return this.meta.pack;
  }

  /** The life of the topic: a new one when its data worker has died, or the topic was removed. */
  get epoch(): string {
    return epochFrom(this.latin1(0, this.metaEnd));
  }

  /** As in HTTP, `image/jpeg`; undefined for JSON. */
  get contentType(): string | undefined {
    return this.isBinary ? this.meta.contentType : undefined;
  }

  /** The type of the items of an array; undefined for what is none. */
  get dtype(): ItemType | undefined {
    return this.isBinary ? this.meta.dtype : undefined;
  }

  /** The length of each dimension of an array; undefined where that was not said. */
  get shape(): readonly number[] | undefined {
    return this.isBinary ? this.meta.shape : undefined;
  }

  /** The payload as it came. */
  get bytes(): Uint8Array {
    const { message } = this;
    const start = this.metaEnd + sizeBytes;
    return typeof message === "string" ? Buffer.from(message.slice(start), "latin1") : message.subarray(start);
  }

  /** The items of an array with a `dtype`, row by row, in memory of their own. Throws TypeError. */
  array(): BinaryData {
    const { dtype } = this;
    if (dtype === undefined) throw new TypeError(`the value of ${this.topic} is no array: it has no dtype`);
    return arrayOf(this.bytes, { dtype });
  }

  /** Bytes are only counted. */
  toJSON(): object {
    const { topic, pack, contentType, dtype, shape } = this;
    if (!this.isBinary) return { topic, data: this.data, pack };
    return { topic, contentType, dtype, shape, bytes: this.message.length - this.metaEnd - sizeBytes, pack };
  }

  [Bun.inspect.custom](): object {
    return this.toJSON();
  }

  private get meta(): ValueMeta {
    if (this.decodedMeta !== null) return this.decodedMeta;
    const { message, metaEnd } = this;
    const meta = decodeValueMeta(
      typeof message === "string" ? Buffer.from(message.slice(0, metaEnd), "latin1") : message.subarray(0, metaEnd),
    );
    if (meta instanceof ProtocolError) throw new TaskEngineError(meta.code, `value of ${this.topic}: ${meta.message}`);
    this.decodedMeta = meta;
    return meta;
  }

  /** Most values are JSON, and need no decoding of META to know that. */
  private get isBinary(): boolean {
    if (this.decodedMeta === null && !this.latin1(0, this.metaEnd).includes('"contentType"')) return false;
    return this.meta.contentType !== undefined;
  }

  private parsed(): Json {
    const { message } = this;
    const start = this.metaEnd + sizeBytes;
    try {
      if (typeof message !== "string") return parseJson(message.subarray(start));
      const text = message.slice(start);
      return parseJson(beyondAscii.test(text) ? Buffer.from(text, "latin1") : text);
    } catch (error) {
      if (!(error instanceof JsonError)) throw error;
      throw new TaskEngineError("BAD_FRAME", `value of ${this.topic}: ${error.message}`);
    }
  }

  private latin1(start: number, end: number): string {
    const { message } = this;
    return typeof message === "string" ? message.slice(start, end) : message.toString("latin1", start, end);
  }
}

const beyondAscii = /[\x80-\xff]/;

/**
 * Copies a value out of a framed message: META begins at `metaAt` and ends at `metaEnd`, and the
 * payload, behind its length, ends at `end`. Small values are many, and a text costs less than a
 * Buffer, which needs a finalizer.
 */
export const copyValue = (
  topic: string,
  seq: number,
  raw: Buffer,
  metaAt: number,
  metaEnd: number,
  end: number,
): TopicValue => {
  const isLong = end - metaAt > valueTextBytesMax;
  const message = isLong ? Buffer.from(raw.subarray(metaAt, end)) : raw.toString("latin1", metaAt, end);
  return new TopicValue(topic, seq, message, metaEnd - metaAt);
};
