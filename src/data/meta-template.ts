/**
 * Recognizes META of a publisher: each of its METAs has the same bytes but for the digits of
 * `pack`. One that fits the last checked META needs no decoding.
 */
import { metaTemplateBytesMax } from "../limits.ts";

const zero = 0x30;
const nine = 0x39;
const point = 0x2e;
const isNumeric = (byte: number): boolean => (byte >= zero && byte <= nine) || byte === point;

const packKey = Buffer.from('"pack":');
const noBytes = new Uint8Array(0);

export class MetaTemplate {
  #bytes: Uint8Array = noBytes;
  #length = -1;
  /** bytes of the payload, where META tells its length; else null. */
  #payloadBytes: number | null = null;
  /** The digits of `pack`. */
  #digitsStart = 0;
  #digitsEnd = 0;

  /**
   * Takes META, which was checked and asks for nothing, as the template from now on.
   * @param payloadBytes the length that it tells of the payload; null if it tells none
   */
  learn(bytes: Buffer, start: number, end: number, payloadBytes: number | null): void {
    this.#length = -1;
    this.#payloadBytes = payloadBytes;
    const meta = bytes.subarray(start, end);
    // An escaped or a second key could make another value of what looks like digits.
    const keyAt = meta.indexOf(packKey);
    if (meta.length > metaTemplateBytesMax || meta.includes("\\") || keyAt !== meta.lastIndexOf(packKey)) return;
    let from = keyAt + packKey.length;
    if (meta[from] === 0x20) from++;
    let to = from;
    while (to < meta.length && isNumeric(meta[to] ?? 0)) to++;
    // A number of whole seconds has no fixed form that other times have, too.
    if (meta.subarray(from, to).indexOf(point) < 1 || meta[to - 1] === point) return;
    this.#bytes = new Uint8Array(meta);
    this.#digitsStart = from;
    this.#digitsEnd = to;
    this.#length = meta.length;
  }

  /** True if META differs from the template by the digits of `pack` alone. */
  fits(bytes: Buffer, start: number, end: number, payloadBytes: number): boolean {
    const length = this.#length;
    if (end - start !== length || (this.#payloadBytes !== null && this.#payloadBytes !== payloadBytes)) return false;
    const known = this.#bytes;
    for (let index = 0; index < length; index++) {
      const byte = bytes[start + index] ?? 0;
      if (byte === known[index]) continue;
      // The point stays in its place, so that the digits make a number of the same form.
      if (index < this.#digitsStart || index >= this.#digitsEnd || byte < zero || byte > nine) return false;
      if (known[index] === point || (index === this.#digitsStart && byte === zero)) return false;
    }
    return true;
  }
}
