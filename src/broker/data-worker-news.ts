/**
 * Tells data workers, when one of them or a source worker comes or goes, which of them share the
 * topics, and which topics must have a value each `staleMs`. It tells workers that publish the
 * first, too.
 */
import { sourcesMax } from "../limits.ts";
import type { RouterHeader } from "../protocol/backend.ts";
import { type Effect, toWorker } from "./events.ts";
import type { Tables } from "./tables.ts";

export class DataWorkerNews {
  /** There has been more than one data worker. */
  #areTopicsShared = false;
  /** Limits of the sources that there are, or were. */
  #staleness: { topic: string; staleMs: number }[] = [];

  constructor(private readonly tables: Tables) {}

  /** Moves values that wait for a data worker that is gone to another one. */
  tell(): Effect[] {
    const { directory, events, queues, workers } = this.tables;
    events.haveDataWorkersNews = false;
    queues.reroute((topic) => directory.topicQueue(topic));
    this.#areTopicsShared ||= directory.dataWorkers.length > 1;
    const topics = [...workers].flatMap(({ ready: { sources = [] } }) =>
      sources.flatMap(({ topic, staleMs }) => (staleMs === undefined ? [] : [{ topic, staleMs }])),
    );
    // The topics of a source worker that has died go stale.
    if (topics.length > 0) this.#staleness = topics.slice(0, sourcesMax);
    const headers: RouterHeader[] = [];
    const owners: RouterHeader = { type: "OWNERS", workers: [...directory.owners] };
    if (this.#areTopicsShared) headers.push(owners);
    if (this.#staleness.length > 0) headers.push({ type: "STALENESS", topics: this.#staleness });
    return [...workers]
      .filter(({ retired }) => retired === null || retired === "leaving")
      .flatMap(({ key, ready, wantsOwners }) => {
        const due = ready.role === "data" ? headers : wantsOwners ? [owners] : [];
        return due.map((header) => toWorker(key, header));
      });
  }
}
