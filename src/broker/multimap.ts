/** Several values for one key. A key that has lost its last value is none any more. */
export class Multimap<Key, Value> {
  readonly #sets = new Map<Key, Set<Value>>();

  /** How many keys there are. */
  get size(): number {
    return this.#sets.size;
  }

  [Symbol.iterator](): IterableIterator<[Key, ReadonlySet<Value>]> {
    return this.#sets.entries();
  }

  keys(): IterableIterator<Key> {
    return this.#sets.keys();
  }

  has(key: Key): boolean {
    return this.#sets.has(key);
  }

  get(key: Key): ReadonlySet<Value> {
    return this.#sets.get(key) ?? noValues;
  }

  add(key: Key, value: Value): void {
    const values = this.#sets.get(key);
    if (values === undefined) this.#sets.set(key, new Set([value]));
    else values.add(value);
  }

  delete(key: Key, value: Value): void {
    const values = this.#sets.get(key);
    values?.delete(value);
    if (values?.size === 0) this.#sets.delete(key);
  }
}

const noValues: ReadonlySet<never> = new Set();
