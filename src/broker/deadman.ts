/** Requests whose jobs end once their requestor does not show any more that it is there: how long that is, and when it is over. */
import type { Effect } from "./effects.ts";
import { deadmanOf, type Job, openJobs, type Request, type Stop } from "./job.ts";
import type { Timers } from "./timers.ts";

type StopAll = (jobs: Iterable<Job>, stop: Stop, now: number) => Effect[];

export class DeadMen {
  constructor(
    private readonly timers: Timers,
    private readonly stopAll: StopAll,
  ) {}

  /** From now on its requestor has to be heard of. */
  watch(request: Request): void {
    const endAt = (): number => request.aliveAt + request.deadmanMs;
    this.timers.add({
      at: endAt(),
      isAlive: () => request.left > 0,
      fire: (now) => {
        // The very sum that the timer has: another way to write it may be a rounding error short of it, for ever.
        if (endAt() <= now) {
          return this.end(request, `its requestor was quiet for ${request.deadmanMs} ms`, now);
        }
        // It has been heard of since: the next look is when that will be too long ago.
        this.watch(request);
        return [];
      },
    });
  }

  end(request: Request, message: string, now: number): Effect[] {
    const guarded = openJobs(request).filter((job) => deadmanOf(job) < Number.POSITIVE_INFINITY);
    return this.stopAll(guarded, { code: "DEADMAN", message }, now);
  }
}
