/** Run times by buckets that grow by a fixed factor: quantiles within 10 %, in a fixed amount of memory. */

const smallestMs = 0.001;
const factor = 1.1;
const bucketCount = 256;
const logFactor = Math.log(factor);

export class Histogram {
  readonly #buckets = new Uint32Array(bucketCount);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  add(ms: number): void {
    const bucket = ms <= smallestMs ? 0 : Math.ceil(Math.log(ms / smallestMs) / logFactor);
    const index = Math.min(bucket, bucketCount - 1);
    this.#buckets[index] = (this.#buckets[index] ?? 0) + 1;
    this.#count++;
  }

  /** ms: the upper end of the bucket in which the quantile lies; null while nothing was added. @param share 0.5: the median */
  quantile(share: number): number | null {
    if (this.#count === 0) return null;
    let left = Math.ceil(share * this.#count);
    for (const [index, count] of this.#buckets.entries()) {
      left -= count;
      if (left <= 0) return Number((smallestMs * factor ** index).toPrecision(3));
    }
    return null;
  }
}
