/**
 * Counts of jobs by task and code, and their run times, from the engine's own events. They begin
 * with the first scrape, and end when nobody has scraped for a while: then they begin anew, which
 * Prometheus takes for a restart.
 */
import type { Client } from "../client/client.ts";
import type { Subscription } from "../client/subscription.ts";
import { gatewayMetricSeriesMax, gatewayScrapeMsMax } from "../limits.ts";

/** Upper bounds of the histogram, in seconds. */
export const secondsBounds = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60] as const;

interface RunTimes {
  /** Counts of runs at most as long as each bound; then of all. */
  readonly counts: number[];
  seconds: number;
}

export class JobMetrics {
  /** Counts by task and code, `OK` for success. */
  readonly ended = new Map<string, Map<string, number>>();
  readonly runs = new Map<string, RunTimes>();
  /** Events that were lost on the way. */
  lost = 0;
  #series = 0;
  #subscription: Subscription | null = null;
  #quiet: Timer | undefined;

  constructor(private readonly client: Client) {}

  /** Somebody scrapes. */
  follow(): void {
    clearTimeout(this.#quiet);
    this.#quiet = setTimeout(() => this.#stop(), gatewayScrapeMsMax);
    this.#quiet.unref();
    this.#subscription ??= this.client.subscribe(["$engine/jobs"], {
      exact: true,
      lastMs: null,
      onValue: ({ data }) => this.#take(data as Record<string, unknown>),
      onEvent: (event) => {
        if (event.type === "dropped") this.lost += event.count;
        if (event.type === "failed") this.#subscription = null;
      },
    });
  }

  #take({ event, task, code, ms }: Record<string, unknown>): void {
    if (event !== "ended" || typeof task !== "string") return;
    const codes = this.ended.get(task) ?? new Map<string, number>();
    const known = codes.get(String(code ?? "OK"));
    if (known === undefined && ++this.#series > gatewayMetricSeriesMax) return;
    this.ended.set(task, codes);
    codes.set(String(code ?? "OK"), (known ?? 0) + 1);
    if (typeof ms !== "number") return;
    const run = this.runs.get(task) ?? { counts: new Array<number>(secondsBounds.length + 1).fill(0), seconds: 0 };
    this.runs.set(task, run);
    run.seconds += ms / 1000;
    for (const [index, bound] of [...secondsBounds, Number.POSITIVE_INFINITY].entries()) {
      if (ms / 1000 <= bound) run.counts[index] = (run.counts[index] ?? 0) + 1;
    }
  }

  #stop(): void {
    void this.#subscription?.return();
    this.#subscription = null;
    this.ended.clear();
    this.runs.clear();
    this.#series = 0;
    this.lost = 0;
  }
}
