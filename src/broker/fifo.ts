/**
 * A queue that takes the first out in constant time, which Array's `shift` does not for long ones. Removal from the middle
 * leaves a hole that is skipped later, so it is constant too, but for finding the place; the first is found at once.
 */
const compactFrom = 1024;

export class Fifo<Item extends object> {
  #items: (Item | null)[] = [];
  #head = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  get first(): Item | undefined {
    return this.#items[this.#head] ?? undefined;
  }

  push(item: Item): void {
    this.#items.push(item);
    this.#length++;
  }

  /** Puts it before the first item that comes after it. Quick where that one is near the head. */
  insert(item: Item, comesAfter: (other: Item) => boolean): void {
    const isAfter = (other: Item | null): boolean => other !== null && comesAfter(other);
    let index = this.#head;
    while (index < this.#items.length && !isAfter(this.#items[index] ?? null)) index++;
    if (index === this.#head && this.#head > 0) this.#items[--this.#head] = item;
    else this.#items.splice(index, 0, item);
    this.#length++;
  }

  remove(item: Item): boolean {
    const index = this.#items.indexOf(item, this.#head);
    if (index < 0) return false;
    this.#items[index] = null;
    this.#length--;
    this.#skipHoles();
    return true;
  }

  /** Keeps the first item at the head. */
  #skipHoles(): void {
    while (this.#head < this.#items.length && this.#items[this.#head] === null) this.#head++;
    if (this.#head === this.#items.length) {
      this.#items = [];
      this.#head = 0;
    } else if (this.#head >= compactFrom && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
  }
}
