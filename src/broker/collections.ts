/** Two collections that the tables of the broker are made of. */

const compactFrom = 1024;

/**
 * A queue that takes out the first item in constant time, which an array's `shift` does not do for
 * long ones: taken items stay before the head until they are half of the array.
 */
export class Fifo<Item extends object> {
  #items: (Item | undefined)[] = [];
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }

  get first(): Item | undefined {
    return this.#items[this.#head];
  }

  push(item: Item): void {
    this.#items.push(item);
  }

  /**
   * Inserts the item before the first one that comes after it. Quick if that one is near the head.
   */
  insert(item: Item, comesAfter: (other: Item) => boolean): void {
    let index = this.#head;
    for (; index < this.#items.length; index++) {
      const other = this.#items[index];
      if (other !== undefined && comesAfter(other)) break;
    }
    if (index === this.#head && this.#head > 0) this.#items[--this.#head] = item;
    else this.#items.splice(index, 0, item);
  }

  /** Does nothing if the item is not there. Quick if it is near the head. */
  remove(item: Item): void {
    const index = this.#items.indexOf(item, this.#head);
    if (index < 0) return;
    if (index > this.#head) this.#items.splice(index, 1);
    else this.#items[this.#head++] = undefined;
    if (this.length === 0 || (this.#head >= compactFrom && this.#head * 2 > this.#items.length)) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
  }
}

/** Several values for one key. A key without values is deleted. */
export class Multimap<Key, Value> {
  readonly #sets = new Map<Key, Set<Value>>();

  [Symbol.iterator](): IterableIterator<[Key, ReadonlySet<Value>]> {
    return this.#sets.entries();
  }

  keys(): IterableIterator<Key> {
    return this.#sets.keys();
  }

  *values(): Generator<Value, void, undefined> {
    for (const values of this.#sets.values()) yield* values;
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
