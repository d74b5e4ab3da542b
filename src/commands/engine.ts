/** What the verbs that talk to a running engine have in common: where it is, how long to wait, how failures end. */
import { type Client, type ConnectOptions, connect } from "../client/client.ts";
import { TaskEngineError } from "../client/errors.ts";
import { type KeyFiles, keyVariable, serverKeyVariable } from "../client/keys.ts";
import { endLibzmq, isLibzmqLoaded, isLibzmqUnusable } from "../client/libzmq.ts";
import { callTimeoutMs, requestTimeoutMs } from "../limits.ts";
import { reactor } from "../transport/reactor.ts";
import { ExitError, UsageError } from "./exit.ts";
import { engineFlags, type WhereFlags, whereabouts } from "./whereabouts.ts";

/** Files of keys, of every verb that connects. */
export const keyArgs = {
  "server-key": {
    type: "string",
    valueHint: "file",
    description: `Public key of the engine (default $${serverKeyVariable}, or else ~/.config/task-engine/engine.key)`,
  },
  key: {
    type: "string",
    valueHint: "file",
    description: `Own secret key (default $${keyVariable}, or else ~/.config/task-engine/client.key_secret; none: no keys)`,
  },
} as const;

export const waitFlag = (defaultMs: number) =>
  ({
    type: "string",
    valueHint: "ms",
    description: `Longest wait: for an engine that is starting, and for the answer (default ${defaultMs} for the answer alone)`,
  }) as const;

/** Flags of every such verb. */
export const engineArgs = {
  ...engineFlags,
  ...keyArgs,
  wait: waitFlag(requestTimeoutMs),
} as const;

/** Flags of a verb that runs tasks. */
export const callArgs = {
  ...engineArgs,
  direct: {
    type: "string",
    valueHint: "endpoint",
    description: "Go past the router to a task worker's own port, such as tcp://127.0.0.1:10000",
  },
  wait: waitFlag(callTimeoutMs),
} as const;

/** What `engineArgs` and `callArgs` were given. */
export interface EngineFlags extends WhereFlags {
  readonly "server-key"?: string | undefined;
  readonly key?: string | undefined;
  readonly wait?: string | undefined;
}

/** Throws UsageError. */
export const endpointFrom = async (flags: EngineFlags): Promise<string> => (await whereabouts(flags)).endpoint;

/** A flag's whole number from `min` to `max`; throws UsageError. */
export const numberFrom = (text: string, flag: string, min: number, max: number): number => {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= min && value <= max) return value;
  throw new UsageError(`${flag} is ${JSON.stringify(text)}, which is not a whole number from ${min} to ${max}`);
};

/** ms that the command waits in all; throws UsageError. */
export const waitFrom = ({ wait }: EngineFlags, defaultMs: number): number =>
  wait === undefined ? defaultMs : numberFrom(wait, "--wait", 1, Number.MAX_SAFE_INTEGER);

/** The files that were named. */
export const keysFrom = (flags: EngineFlags): KeyFiles => ({ serverKey: flags["server-key"], key: flags.key });

/** How to connect. Only whoever names a time waits for an engine that is not there. Throws UsageError. */
export const connectionFrom = (flags: EngineFlags): ConnectOptions => ({
  ...keysFrom(flags),
  ...(flags.wait !== undefined && { waitMs: waitFrom(flags, requestTimeoutMs) }),
});

/**
 * Connects, lets `work` do its work, and leaves nothing unsaid before the process ends. What the engine or a task refuses ends with code
 * 1, silence with code 3.
 */
export const withEngine = async <Result>(
  endpoint: string,
  options: ConnectOptions,
  work: (engine: Client) => Promise<Result>,
): Promise<Result> => {
  const engine = connectWithKeys(() => connect(endpoint, options));
  let isDone = false;
  try {
    const result = await work(engine);
    isDone = true;
    return result;
  } catch (error) {
    if (!(error instanceof TaskEngineError)) throw error;
    if (error.code === "NO_ANSWER") throw new ExitError(error.message, (await isLibzmqUnusable()) ? 1 : 3);
    throw new ExitError(`${error.code}: ${error.message}`, 1);
  } finally {
    // A cancellation may have been the last thing to be said. One that is answered all, past libzmq, ends with the process.
    if (!isDone || engine.waiting > 0 || isLibzmqLoaded()) {
      await engine.close();
      await endLibzmq();
    }
  }
};

/**
 * For a verb that has nothing else to do: an answer that comes soon is waited for outside of the event loop, which it takes longer to
 * make ready than the answer takes.
 */
export const waitForAnswers = (engine: Client): void => {
  reactor.mayWaitMs = () => (engine.waiting > 0 ? Number.POSITIVE_INFINITY : 0);
};

/** A file of keys that cannot be used is wrong usage. */
const connectWithKeys = (make: () => Client): Client => {
  try {
    return make();
  } catch (error) {
    throw error instanceof TaskEngineError ? new UsageError(error.message) : error;
  }
};
