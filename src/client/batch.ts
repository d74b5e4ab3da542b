/**
 * One task with any number of lists of arguments. Parts go out in messages of many, some messages
 * at a time, and results come back in order. Memory is bounded, since the source is asked for more
 * only as results are read.
 */
import { batchTasksMax, clientBatchBytesMax, clientBatchesMax, clientBatchGatherMs, frameBytesMax } from "../limits.ts";
import { TaskEngineError } from "../protocol/errors.ts";
import { isJsonObject, type Json } from "../protocol/json.ts";
import { bytesOfFrame } from "./errors.ts";
import type { ResultReply, WaitOptions } from "./pending.ts";

/** The result of one part of a batch. */
export type PartResult =
  | { readonly data: Json; readonly error?: undefined }
  | { readonly data?: undefined; readonly error: TaskEngineError };

/** The progress of a batch. */
export interface BatchProgress {
  /** Parts that have ended. */
  readonly done: number;
  /** Parts that have been sent. */
  readonly sent: number;
}

interface BatchRules {
  /** A part's frame, or the reason why it cannot be sent. Throws nothing. */
  readonly encode: (args: readonly unknown[]) => string | TaskEngineError;
  /** Sends parts as one message. Rejects only with TaskEngineError. */
  readonly send: (parts: readonly string[], waiting: Omit<WaitOptions, "waitMs">) => Promise<ResultReply>;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: BatchProgress) => void) | undefined;
}

export type ArgsSource = Iterable<readonly unknown[]> | AsyncIterable<readonly unknown[]>;

/** The parts of one message. A part that cannot be sent has its place, and its result already. */
interface Chunk {
  readonly frames: string[];
  readonly unsendable: Map<number, TaskEngineError>;
  bytes: number;
}

/**
 * Gives the result of each part, in order. An error of the source comes after the results of the
 * parts before it. Leaving the loop early, or aborting the signal, cancels the parts in flight and
 * sends no more.
 */
export async function* runBatch(source: ArgsSource, rules: BatchRules): AsyncGenerator<PartResult, void, undefined> {
  const stop = new AbortController();
  const signal = rules.signal === undefined ? stop.signal : AbortSignal.any([rules.signal, stop.signal]);
  const aborted = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
  const parts = new Parts(source);
  const tally = new Tally(rules.onProgress);
  const inFlight: Promise<PartResult[]>[] = [];
  let gathering: Promise<void> | null = null;
  const gatherAndSend = async (): Promise<void> => {
    const chunk = await gather(parts, rules.encode);
    if (sizeOf(chunk) > 0 && !signal.aborted) inFlight.push(runChunk(chunk, rules.send, signal, tally));
    gathering = null;
  };
  try {
    for (;;) {
      if (inFlight.length < clientBatchesMax && !parts.ended && !signal.aborted) gathering ??= gatherAndSend();
      const isGathering = gathering !== null && !signal.aborted;
      const [first] = inFlight;
      if (first === undefined && !isGathering) break;
      // Results do not wait for a slow source.
      const results = await Promise.race(isGathering ? [first ?? aborted, gathering, aborted] : [first]);
      if (!results) continue;
      inFlight.shift();
      yield* results;
    }
    if (parts.failure !== null) throw parts.failure.error;
  } finally {
    stop.abort();
    await Promise.all([...inFlight, parts.close()]);
  }
}

/** Gathers as many parts as one message takes, or as come without much delay. */
const gather = async (parts: Parts, encode: BatchRules["encode"]): Promise<Chunk> => {
  const chunk: Chunk = { frames: [], unsendable: new Map(), bytes: 0 };
  let isLate: Promise<void> | null = null;
  while (sizeOf(chunk) < batchTasksMax && chunk.bytes <= clientBatchBytesMax - frameBytesMax) {
    const next = parts.next(isLate);
    // An await of a value costs a part as much as its encoding.
    const args = next instanceof Promise ? await next : next;
    if (args === null) break;
    // The time runs from the first part on.
    isLate ??= Bun.sleep(clientBatchGatherMs);
    const frame = encode(args);
    if (frame instanceof TaskEngineError) chunk.unsendable.set(sizeOf(chunk), frame);
    else {
      chunk.frames.push(frame);
      chunk.bytes += bytesOfFrame(frame);
    }
  }
  return chunk;
};

const sizeOf = ({ frames, unsendable }: Chunk): number => frames.length + unsendable.size;

/** Never rejects: an error of the message is the result of each of its parts. */
const runChunk = async (
  chunk: Chunk,
  send: BatchRules["send"],
  signal: AbortSignal,
  tally: Tally,
): Promise<PartResult[]> => {
  const { frames, unsendable } = chunk;
  const progress = tally.begin(sizeOf(chunk));
  const sent =
    frames.length === 0
      ? []
      : await send(frames, { signal, onProgress: (data) => progress(doneOf(data)) }).then(
          (answer) => resultsOf(answer, frames.length),
          (error) => frames.map((): PartResult => ({ error })),
        );
  progress(sizeOf(chunk));
  const results = sent.values();
  return Array.from({ length: sizeOf(chunk) }, (_, index): PartResult => {
    const error = unsendable.get(index);
    return error === undefined ? (results.next().value ?? missing()) : { error };
  });
};

const resultsOf = (answer: ResultReply, count: number): PartResult[] => {
  if (answer.kind === "ack")
    return count === 1 ? [{ data: answer.data ?? null }] : Array.from({ length: count }, missing);
  if (answer.kind === "binary" || answer.kind === "accepted") return Array.from({ length: count }, missing);
  return answer.parts.map((part) =>
    "data" in part ? part : { error: new TaskEngineError(part.error.code, part.error.message) },
  );
};

const missing = (): PartResult => ({
  error: new TaskEngineError("BAD_FRAME", "the answer to the batch has fewer parts than the batch"),
});

/**
 * `done` of the router's progress of a batch. A single part's progress comes from its task, in a
 * form of its own.
 */
const doneOf = (data: Json): number => (isJsonObject(data) && typeof data.done === "number" ? data.done : 0);

/** The sum of the progress of all messages. */
class Tally {
  #done = 0;
  #sent = 0;

  constructor(private readonly onProgress: ((progress: BatchProgress) => void) | undefined) {}

  /** Returns a function for one message, which takes the number of its parts that have ended. */
  begin(count: number): (done: number) => void {
    let known = 0;
    this.#sent += count;
    return (done) => {
      const more = Math.min(done, count) - known;
      if (more <= 0) return;
      known += more;
      this.#done += more;
      this.onProgress?.({ done: this.#done, sent: this.#sent });
    };
  }
}

/** The source, part by part. A part that comes too late for one message goes into the next. */
class Parts {
  readonly #source: Iterator<readonly unknown[]> | null;
  readonly #iterator: Iterator<readonly unknown[]> | AsyncIterator<readonly unknown[]>;
  #next: Promise<IteratorResult<readonly unknown[]>> | null = null;
  ended = false;
  failure: { readonly error: unknown } | null = null;

  constructor(source: ArgsSource) {
    this.#source = Symbol.asyncIterator in source ? null : source[Symbol.iterator]();
    this.#iterator = this.#source ?? (source as AsyncIterable<readonly unknown[]>)[Symbol.asyncIterator]();
  }

  /**
   * Null at the end, at a failure, and if `isLate` resolves first. Not a promise for a synchronous
   * source.
   */
  next(isLate: Promise<void> | null): readonly unknown[] | null | Promise<readonly unknown[] | null> {
    if (this.ended) return null;
    return this.#source === null ? this.#later(isLate) : this.#now(this.#source);
  }

  #now(source: Iterator<readonly unknown[]>): readonly unknown[] | null {
    try {
      const result = source.next();
      if (!result.done) return result.value;
    } catch (error) {
      this.failure = { error };
    }
    this.ended = true;
    return null;
  }

  async #later(isLate: Promise<void> | null): Promise<readonly unknown[] | null> {
    try {
      this.#next ??= Promise.resolve(this.#iterator.next());
      const result = isLate === null ? await this.#next : await Promise.race([this.#next, isLate]);
      if (result === undefined) return null;
      this.#next = null;
      if (!result.done) return result.value;
    } catch (error) {
      this.failure = { error };
    }
    this.ended = true;
    return null;
  }

  /**
   * Lets the source clean up, unless it has ended. A source that is asked for a part would answer
   * only after that.
   */
  async close(): Promise<void> {
    if (this.ended) return;
    const closing = Promise.resolve(this.#iterator.return?.());
    if (this.#next === null) await closing;
    else closing.catch(() => undefined);
  }
}
