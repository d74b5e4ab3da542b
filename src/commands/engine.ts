/** Connects a command to a running engine: flags, keys, time limits, exit codes and Ctrl-C. */
import { type Client, type ConnectOptions, connect, type Trace } from "../client/client.ts";
import { type KeyFiles, keyVariable, serverKeyVariable } from "../client/keys.ts";
import { endLibzmq, isLibzmqLoaded, isLibzmqUnusable } from "../client/libzmq.ts";
import { callTimeoutMs, cancelAnswerMs, requestTimeoutMs } from "../limits.ts";
import { TaskEngineError } from "../protocol/errors.ts";
import { onInterrupt } from "../supervisor/signals.ts";
import { reactor } from "../transport/reactor.ts";
import { ExitError, UsageError } from "./command.ts";
import { type EngineLocation, type LocationFlags, locateEngine, locationArgs } from "./locate.ts";
import { numberFrom } from "./values.ts";

const configFolder = "~/.config/task-engine";

/** Flags of every command that connects. */
export const keyArgs = {
  "server-key": {
    type: "string",
    valueHint: "file",
    description: `Public key of the engine (default $${serverKeyVariable}, or else ${configFolder}/engine.key)`,
  },
  key: {
    type: "string",
    valueHint: "file",
    description: `Own secret key (default $${keyVariable}, or else ${configFolder}/client.key_secret; none: no keys)`,
  },
} as const;

export const waitFlag = (defaultMs: number) =>
  ({
    type: "string",
    valueHint: "ms",
    description: `Longest wait for a starting engine and for the answer (default ${defaultMs}, for the answer alone)`,
  }) as const;

/** Flags of every command that sends requests. */
export const engineArgs = { ...locationArgs, ...keyArgs, wait: waitFlag(requestTimeoutMs) } as const;

/** Flags of a command that runs tasks. */
export const callArgs = {
  ...engineArgs,
  direct: {
    type: "string",
    valueHint: "endpoint",
    description: "Go past the router to a task worker's own port, such as tcp://127.0.0.1:10000",
  },
  wait: waitFlag(callTimeoutMs),
} as const;

interface KeyFlags {
  readonly "server-key"?: string | undefined;
  readonly key?: string | undefined;
}

/** The values of `engineArgs` and `callArgs`. */
export interface EngineFlags extends LocationFlags, KeyFlags {
  readonly wait?: string | undefined;
}

/** Returns the ms that the command waits in all; throws UsageError. */
export const waitFrom = ({ wait }: EngineFlags, defaultMs: number): number =>
  wait === undefined ? defaultMs : numberFrom(wait, "--wait", 1, Number.MAX_SAFE_INTEGER);

export const keysFrom = (flags: KeyFlags): KeyFiles => ({ serverKey: flags["server-key"], key: flags.key });

/**
 * Connects to the engine that the flags name, does `work`, and closes the connection. Throws
 * UsageError for wrong flags or keys, and ExitError: with code 1 if the engine or a task refused,
 * with code 3 if no answer came.
 * @param known the engine, if it is located already
 */
export const withEngine = async <Result>(
  flags: EngineFlags,
  work: (engine: Client, endpoint: string) => Promise<Result>,
  { known, ...options }: { readonly known?: EngineLocation; readonly trace?: Trace } = {},
): Promise<Result> => {
  const { endpoint, state } = known ?? (await locateEngine(flags));
  const connectOptions: ConnectOptions = {
    ...keysFrom(flags),
    ...(state !== null && { state }),
    // The client waits for an absent engine only if it is given a time.
    ...(flags.wait !== undefined && { waitMs: waitFrom(flags, requestTimeoutMs) }),
    ...options,
  };
  const engine = usageErrorFrom(() => connect(endpoint, connectOptions));
  let isDone = false;
  try {
    const result = await work(engine, endpoint);
    isDone = true;
    return result;
  } catch (error) {
    if (!(error instanceof TaskEngineError)) throw error;
    if (error.code === "NO_ANSWER") throw new ExitError(error.message, (await isLibzmqUnusable()) ? 1 : 3);
    throw new ExitError(`${error.code}: ${error.message}`, 1);
  } finally {
    // libzmq may still have a cancellation to send. Without libzmq and with every request answered
    // there is nothing to wait for, and the end of the process closes the connection.
    if (!isDone || engine.waiting > 0 || isLibzmqLoaded()) {
      await engine.close();
      await endLibzmq();
    }
  }
};

/** Converts the client's error about a file of keys into UsageError. */
export const usageErrorFrom = <Result>(use: () => Result): Result => {
  try {
    return use();
  } catch (error) {
    throw error instanceof TaskEngineError ? new UsageError(error.message) : error;
  }
};

/**
 * Lets the reactor block while answers are awaited, for a command that does nothing else: the
 * event loop takes longer to start than a quick answer takes to come.
 */
export const blockForAnswers = (engine: Client): void => {
  reactor.mayWait(() => (engine.waiting > 0 ? Number.POSITIVE_INFINITY : 0));
};

/**
 * Does `work`, whose signal is aborted at the first Ctrl-C or SIGTERM; the exit code is then 130,
 * whatever `work` does within `cancelAnswerMs`. A second Ctrl-C ends the process at once.
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
    throw interrupt.signal.aborted ? interruptedBy(error) : error;
  } finally {
    clearTimeout(timer);
  }
  if (interrupt.signal.aborted) throw new ExitError("", 130);
};

const interruptedBy = (error: unknown): unknown => {
  if (error instanceof TaskEngineError) {
    return new ExitError(error.code === "CANCELLED" ? "cancelled" : `${error.code}: ${error.message}`, 130);
  }
  return error instanceof ExitError ? new ExitError(error.message, 130) : error;
};

/** Resolves at the first Ctrl-C or SIGTERM, which ends a command that watches. */
export const endRequested = (): Promise<void> =>
  new Promise((resolve) => {
    process.once("SIGINT", () => resolve());
    process.once("SIGTERM", () => resolve());
  });
