/**
 * Requests whose jobs end once their requestor does not show any more that it is there: how long that is, and when it is over.
 * Then it is listened for a moment longer: a router that was itself held up has what came meanwhile still to read.
 */
import { deadmanDoubtMs } from "../limits.ts";
import type { Effect } from "./effects.ts";
import { deadmanOf, type Job, type Request, type Stop } from "./job.ts";
import type { Timers } from "./timers.ts";

type StopAll = (jobs: Iterable<Job>, stop: Stop, now: number) => Effect[];

export class DeadMen {
  constructor(
    private readonly timers: Timers,
    private readonly stopAll: StopAll,
  ) {}

  /** From now on its requestor has to be heard of. */
  watch(request: Request): void {
    this.#lookAt(endOf(request), request, (now) => {
      this.#lookAt(now + deadmanDoubtMs, request, (later) =>
        this.end(request, `its requestor was quiet for ${request.deadmanMs} ms`, later),
      );
      return [];
    });
  }

  /** At that time, unless it has been heard of meanwhile: then the next look is when that will be too long ago. */
  #lookAt(at: number, request: Request, onQuiet: (now: number) => Effect[]): void {
    this.timers.add({
      at,
      isAlive: () => request.left > 0,
      fire: (now) => {
        // The very sum that the timer has: another way to write it may be a rounding error short of it, for ever.
        if (endOf(request) <= now) return onQuiet(now);
        this.watch(request);
        return [];
      },
    });
  }

  end({ jobs }: Request, message: string, now: number): Effect[] {
    const guarded = [...jobs].filter((job) => deadmanOf(job) < Number.POSITIVE_INFINITY);
    return this.stopAll(guarded, { code: "DEADMAN", message }, now);
  }
}

const endOf = ({ aliveAt, deadmanMs }: Request): number => aliveAt + deadmanMs;
