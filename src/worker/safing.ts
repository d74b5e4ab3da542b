/**
 * Safing: a task's `onStop` brings its hardware into the safe state after a job of it that has not ended by itself. The job's
 * own signal does not reach it; only its own time limit does.
 */
import { onStopMs } from "../limits.ts";
import { shorten } from "../protocol/errors.ts";
import type { RegisteredTask, StopReason } from "../tasks/task.ts";
import { thrownLines, thrownMessage } from "../tasks/thrown.ts";
import { type ContextHooks, JobContext, type Named } from "./context.ts";
import { within } from "./culprit.ts";
import type { FailureLog } from "./failure-log.ts";

/** Why hardware is not known to be safe. */
export interface SafingFailure extends StopReason {
  /** For the log: with the stack, where there is one. */
  readonly lines: readonly [first: string, ...rest: string[]];
}

/** ms that one run of its `onStop` may take. */
export const onStopMsOf = (task: RegisteredTask): number => task.policy.onStopMs ?? onStopMs;

/**
 * Does `work`, and aborts the context's signal when `msMax` are over. Waits for its end in any case: only another process can
 * end what does not end itself. Resolves to null, or says why it has failed: it threw, or its time was over. Never rejects.
 */
export const withinTime = async (
  context: JobContext<Named>,
  msMax: number,
  work: () => unknown,
): Promise<SafingFailure | null> => {
  const timer = setTimeout(() => context.abort(overtime(msMax)), msMax);
  try {
    await work();
    return context.why === null ? null : overtime(msMax);
  } catch (thrown) {
    if (context.why !== null) return overtime(msMax);
    return { code: "TASK_ERROR", message: shorten(thrownMessage(thrown)), lines: thrownLines(thrown) };
  } finally {
    clearTimeout(timer);
    context.end();
  }
};

export const overtime = (msMax: number): SafingFailure => {
  const message = `it took longer than ${msMax} ms`;
  return { code: "TIMEOUT", message, lines: [message] };
};

export class Safing {
  constructor(
    private readonly hooks: Pick<ContextHooks<Named>, "tag" | "publish">,
    private readonly failures: FailureLog,
  ) {}

  /** Runs the task's `onStop` once. Resolves to null once all is safe, or to why that is not known. Never rejects. */
  async run(task: RegisteredTask, job: Named, why: StopReason): Promise<SafingFailure | null> {
    const context = new JobContext(job, { ...this.hooks, progress: ignore });
    const { code, message } = why;
    const failure = await withinTime(context, onStopMsOf(task), () =>
      within(task, () => task.onStop?.(context, { code, message })),
    );
    if (failure !== null) this.#report(job, failure);
    return failure;
  }

  #report({ name, serial }: Named, { lines: [first, ...rest] }: SafingFailure): void {
    const which = `${name}${serial === "" ? "" : ` (${serial})`}`;
    this.failures.add(performance.now(), () => [
      `${this.hooks.tag} Not known to be safe: the onStop of ${which} has failed: ${first}`,
      ...rest,
    ]);
  }
}

const ignore = (): void => undefined;
