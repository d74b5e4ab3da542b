/**
 * Restarts: whether and when a dead process is started again. Pure: what has happened and the time
 * go in, the decision comes out.
 *
 * Deaths are counted for the whole engine, so that one that cannot hold itself up ends where its
 * own supervisor (systemd) sees it. The back-off is per process, so that a flapping one does not
 * delay the restart of another.
 */
import { restartCalmMs, restartDelayMs, restartDelayMsMax } from "../limits.ts";

export interface RestartRules {
  /** Restarts within the window; at one more the engine gives up. */
  readonly restartsMax: number;
  readonly restartWindowMs: number;
}

/** Deaths so far, bounded: `restartsMax` times, and one streak for each process. */
interface RestartHistory {
  /** Times of the deaths within the window, oldest first. */
  readonly deathsMs: readonly number[];
  readonly streaks: ReadonlyMap<string, Streak>;
}

/** Deaths of one process in a row, without a calm time between them. */
interface Streak {
  readonly deaths: number;
  readonly lastMs: number;
}

export type RestartDecision = { readonly type: "restart"; readonly delayMs: number } | { readonly type: "give up" };

export const noDeaths: RestartHistory = { deathsMs: [], streaks: new Map() };

/**
 * @param name of the process, the same after a restart
 * @param nowMs of a monotonic clock
 * @param isCounted false if a job may have caused the death, which then says nothing of the engine
 */
export const afterDeath = (
  history: RestartHistory,
  name: string,
  nowMs: number,
  rules: RestartRules,
  isCounted = true,
): { history: RestartHistory; decision: RestartDecision } => {
  const before = history.deathsMs.filter((atMs) => atMs > nowMs - rules.restartWindowMs);
  const deathsMs = isCounted ? [...before, nowMs] : before;
  const streak = history.streaks.get(name);
  const deaths = streak !== undefined && nowMs - streak.lastMs < restartCalmMs ? streak.deaths + 1 : 1;
  const streaks = new Map(history.streaks).set(name, { deaths, lastMs: nowMs });
  const decision: RestartDecision =
    deathsMs.length > rules.restartsMax
      ? { type: "give up" }
      : { type: "restart", delayMs: Math.min(restartDelayMs * 2 ** (deaths - 1), restartDelayMsMax) };
  return { history: { deathsMs, streaks }, decision };
};
