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
  /** A topic has had a `staleMs`. */
  #hasStaleness = false;

  constructor(private readonly tables: Tables) {}

  /** Moves values that wait for a data worker that is gone to another one. */
  tell(): Effect[] {
    const { directory, events, queues, workers } = this.tables;
    events.haveDataWorkersNews = false;
    queues.reroute((topic) => directory.topicQueue(topic));
    this.#areTopicsShared ||= directory.dataWorkers.length > 1;
    const topics = workers.staleness.slice(0, sourcesMax);
    this.#hasStaleness ||= topics.length > 0;
    const headers: RouterHeader[] = [];
    const owners: RouterHeader = { type: "OWNERS", workers: [...directory.owners] };
    if (this.#areTopicsShared) headers.push(owners);
    if (this.#hasStaleness) headers.push({ type: "STALENESS", topics });
    return [...workers]
      .filter(({ retired }) => retired === null || retired === "leaving")
      .flatMap(({ key, ready, wantsOwners }) => {
        const due = ready.role === "data" ? headers : wantsOwners ? [owners] : [];
        return due.map((header) => toWorker(key, header));
      });
  }
}
