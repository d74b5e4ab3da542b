/**
 * Counts the subscriptions to the engine's own topics, so that the router makes events only of what
 * somebody follows.
 */
import { type EngineTopic, engineTopicPrefix, engineTopics } from "../protocol/engine-topics.ts";

export class EngineTopics {
  /** Prefixes that cover one of these topics, by connection. */
  readonly #prefixes = new Map<string, Set<string>>();
  #watched: readonly EngineTopic[] = [];

  /** @param onChange is told the topics that have subscribers, whenever these are others */
  constructor(private readonly onChange: (topics: readonly EngineTopic[]) => void) {}

  /** The topics that have subscribers. */
  get watched(): readonly EngineTopic[] {
    return this.#watched;
  }

  /**
   * A subscription begins. One that covers none of these topics is not counted.
   * @param connection a name of the connection, unique in this process
   * @param prefix a whole name, or its beginning; the empty one covers no topic of the engine
   */
  begin(connection: string, prefix: string): void {
    if (!coversEngineTopics(prefix)) return;
    const prefixes = this.#prefixes.get(connection);
    if (prefixes === undefined) this.#prefixes.set(connection, new Set([prefix]));
    else prefixes.add(prefix);
    this.#look();
  }

  /** The subscriptions of a connection are these from now on. */
  replace(connection: string, prefixes: readonly string[]): void {
    const covering = prefixes.filter(coversEngineTopics);
    if (covering.length > 0) this.#prefixes.set(connection, new Set(covering));
    else if (!this.#prefixes.delete(connection)) return;
    this.#look();
  }

  /** Does nothing for a subscription that was not counted. */
  end(connection: string, prefix: string): void {
    const prefixes = this.#prefixes.get(connection);
    if (prefixes?.delete(prefix) !== true) return;
    if (prefixes.size === 0) this.#prefixes.delete(connection);
    this.#look();
  }

  /** The connection is gone, and its subscriptions with it. */
  gone(connection: string): void {
    if (this.#prefixes.delete(connection)) this.#look();
  }

  #look(): void {
    const all = [...this.#prefixes.values()].flatMap((prefixes) => [...prefixes]);
    const watched = engineTopics.filter((topic) => all.some((prefix) => topic.startsWith(prefix)));
    if (watched.length === this.#watched.length && watched.every((topic) => this.#watched.includes(topic))) return;
    this.#watched = watched;
    this.onChange(watched);
  }
}

/** Returns true for the beginning of the names of the engine's topics, and for what begins so. */
export const coversEngineTopics = (prefix: string): boolean =>
  prefix !== "" && (prefix.startsWith(engineTopicPrefix) || engineTopicPrefix.startsWith(prefix));
