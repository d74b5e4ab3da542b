/** Makes the events of a turn's end from the tables: the stop, and resources. */
import { resourceEventMs } from "../limits.ts";
import type { StopResult } from "../protocol/blocked.ts";
import type { Effect } from "./events.ts";
import { reportResources } from "./status.ts";
import type { Tables } from "./tables.ts";

export class EventReport {
  /** A timer runs for the resources that have changed. */
  #isTimed = false;

  constructor(
    private readonly tables: Tables,
    private readonly stopped: () => StopResult | null,
  ) {}

  /** The events of a turn of a broker whose topics have subscribers. */
  take(now: number): Effect[] {
    const { events, timers } = this.tables;
    events.stop(this.stopped);
    if (events.changedResources.size > 0 && !this.#isTimed) {
      this.#isTimed = true;
      timers.add({ at: now + resourceEventMs, isAlive: () => true, fire: () => this.#reportResources() });
    }
    return events.take();
  }

  /** Together and later, since the jobs that wait for a resource have to be counted. */
  #reportResources(): Effect[] {
    const { events } = this.tables;
    this.#isTimed = false;
    for (const report of reportResources(this.tables, events.changedResources)) events.resource(report);
    events.changedResources.clear();
    return [];
  }
}
