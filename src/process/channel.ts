/**
 * How the supervisor and its children speak: lines of JSON over a pair of connected sockets. Not over Bun's own IPC, whose
 * sockets have two timers that wake both ends 1.25 times a second for as long as they are open, be there anything to say or not.
 */
import { closeSync } from "node:fs";
import { channelLineLengthMax } from "../limits.ts";
import { libc } from "../transport/libc.ts";

/** Under which descriptor a child finds its end: the first after stdin, stdout and stderr. */
export const channelDescriptor = 3;

/**
 * Starts a process with a channel to it: `start` gives it the descriptor of its end, to be its `channelDescriptor`. Throws where this
 * process has no descriptor left, and what `start` throws.
 */
export const withChannel = <Heard, Said, Started>(
  hear: (message: Heard) => void,
  start: (theirs: number) => Started,
): { readonly channel: Channel<Heard, Said>; readonly started: Started } => {
  const { ours, theirs } = openChannelPair();
  const channel = new Channel<Heard, Said>(ours, hear);
  try {
    return { channel, started: start(theirs) };
  } finally {
    // Our own copy of it: while it is open, the channel would outlive the process.
    closeSync(theirs);
  }
};

/** Both ends of a new channel, as descriptors. No child inherits them unasked. */
export const openChannelPair = (): { readonly ours: number; readonly theirs: number } => {
  const pair = new Int32Array(2);
  if (libc.socketpair(unixFamily, stream | closeOnExec, 0, pair) !== 0) {
    throw new Error("there is no file descriptor left for a channel to a child");
  }
  return { ours: pair[0] ?? -1, theirs: pair[1] ?? -1 };
};

/** socketpair(2): AF_UNIX, SOCK_STREAM, SOCK_CLOEXEC */
const unixFamily = 1;
const stream = 1;
const closeOnExec = 0o2000000;

/** One end. A message is what JSON can say. It keeps no process alive. */
export class Channel<Heard, Said> {
  /** Resolves when the other end is gone and all that it has said is heard. Rejects with what `hear` has thrown. */
  readonly ended: Promise<void>;
  readonly #descriptor: number;
  readonly #sink: Bun.FileSink;
  #isOpen = true;

  /** Owns the descriptor from now on. `hear` is called with each message, in order, and not before the event loop has turned. */
  constructor(descriptor: number, hear: (message: Heard) => void) {
    this.#descriptor = descriptor;
    this.#sink = Bun.file(descriptor).writer();
    this.ended = this.#listen(hear);
  }

  /** At once, unless the other end is far behind. To an end that is gone nothing is said. */
  send(message: Said): void {
    if (this.#isOpen) void this.#write(`${JSON.stringify(message)}\n`);
  }

  /** It fails where the other end is gone, of which `ended` tells. */
  async #write(line: string): Promise<void> {
    try {
      // Of a long line both give a promise, and both fail.
      await Promise.all([this.#sink.write(line), this.#sink.flush()]);
    } catch {
      this.#isOpen = false;
    }
  }

  async #listen(hear: (message: Heard) => void): Promise<void> {
    const chunks = Bun.file(this.#descriptor).stream()[Symbol.asyncIterator]();
    const decoder = new TextDecoder();
    let rest = "";
    // Longer lines come from a task alone, that writes into its worker's channel.
    while (rest.length <= channelLineLengthMax) {
      const bytes = await nextOf(chunks);
      if (bytes === null) break;
      const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) hearLine(line, hear);
    }
    this.#isOpen = false;
    await chunks.return?.();
    closeSync(this.#descriptor);
  }
}

/** null at the end. An end that has died with something of ours unread is an error to read from, and an end like any other. */
const nextOf = async (chunks: AsyncIterator<Uint8Array>): Promise<Uint8Array | null> => {
  try {
    const { done, value } = await chunks.next();
    return done === true ? null : value;
  } catch {
    return null;
  }
};

/** What is no JSON comes from a task that has written into its worker's channel. It is of no meaning. */
const hearLine = <Heard>(line: string, hear: (message: Heard) => void): void => {
  let message: Heard;
  try {
    message = JSON.parse(line);
  } catch {
    return;
  }
  if (typeof message === "object" && message !== null) hear(message);
};
