/** Counts by topic. Topics beyond the limit are counted in `total` alone. */
export class TopicCounts {
  total = 0;
  readonly #byTopic = new Map<string, number>();

  constructor(private readonly topicsMax: number) {}

  count(topic: string, count = 1): void {
    this.total += count;
    const before = this.#byTopic.get(topic);
    if (before !== undefined || this.#byTopic.size < this.topicsMax) this.#byTopic.set(topic, (before ?? 0) + count);
  }

  get byTopic(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#byTopic);
  }
}
