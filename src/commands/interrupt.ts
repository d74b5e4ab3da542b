/** Ctrl-C and SIGTERM, for a verb that has something to end before it ends itself. */
import { TaskEngineError } from "../client/errors.ts";
import { cancelAnswerMs } from "../limits.ts";
import { onInterrupt } from "../supervisor/signals.ts";
import { ExitError } from "./exit.ts";

/**
 * Does `work`, which ends what it has begun when the signal it is given is aborted: at the first Ctrl-C or SIGTERM. Whatever
 * `work` comes to then, the exit code is 130. It has `cancelAnswerMs` for it; at a second Ctrl-C the process ends at once.
 */
export const interruptible = async (work: (signal: AbortSignal) => Promise<void>): Promise<void> => {
  const interrupt = new AbortController();
  const patience = Promise.withResolvers<never>();
  let timer: Timer | undefined;
  const onSignal = (): void => {
    if (interrupt.signal.aborted) process.exit(130);
    interrupt.abort();
    const message = `no word from the engine ${cancelAnswerMs} ms after the cancellation: it may still be at work`;
    timer = setTimeout(() => patience.reject(new ExitError(message, 130)), cancelAnswerMs);
  };
  onInterrupt(onSignal);
  process.on("SIGTERM", onSignal);
  try {
    await Promise.race([work(interrupt.signal), patience.promise]);
  } catch (error) {
    throw interrupt.signal.aborted ? interrupted(error) : error;
  } finally {
    clearTimeout(timer);
  }
  if (interrupt.signal.aborted) throw new ExitError("", 130);
};

const interrupted = (error: unknown): unknown => {
  if (error instanceof TaskEngineError) {
    return new ExitError(error.code === "CANCELLED" ? "cancelled" : `${error.code}: ${error.message}`, 130);
  }
  return error instanceof ExitError ? new ExitError(error.message, 130) : error;
};

/** Resolves at the first Ctrl-C or SIGTERM, for a verb whose end that is. */
export const toldToEnd = (): Promise<void> =>
  new Promise((resolve) => {
    process.once("SIGINT", () => resolve());
    process.once("SIGTERM", () => resolve());
  });
