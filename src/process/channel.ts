/**
 * The channel between the supervisor and a child: lines of JSON over a pair of connected sockets.
 * It is not Bun's own IPC, whose idle sockets wake both ends 1.25 times a second.
 */
import { closeSync } from "node:fs";
import { channelLineLengthMax } from "../limits.ts";
import { libc } from "../transport/libc.ts";

/** The child's descriptor of its end: the first after stdin, stdout and stderr. */
export const channelDescriptor = 3;

/**
 * Starts a process with a channel to it. Throws if this process has no descriptor left, and the
 * errors of `start`.
 * @param start starts it with the given descriptor as its `channelDescriptor`
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
    // This copy would keep the channel open after the child's end.
    closeSync(theirs);
  }
};

/** The descriptors of both ends of a new channel, closed on exec. */
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

/** One end of a channel for JSON messages. It keeps no process alive. */
export class Channel<Heard, Said> {
  /** Resolves when the other end is gone and all is read. Rejects with an error of `hear`. */
  readonly ended: Promise<void>;
  readonly #descriptor: number;
  readonly #sink: Bun.FileSink;
  #isOpen = true;
  /** Messages that the other end has not read, so that they wait in this process. */
  #unsent = 0;

  /** Owns the descriptor. Calls `hear` in order, first when the event loop has turned. */
  constructor(descriptor: number, hear: (message: Heard) => void) {
    this.#descriptor = descriptor;
    this.#sink = Bun.file(descriptor).writer();
    this.ended = this.#listen(hear);
  }

  /** Does nothing if the other end is gone. */
  send(message: Said): void {
    if (this.#isOpen) void this.#write(`${JSON.stringify(message)}\n`);
  }

  /** A message waits until the other end reads. */
  get isBusy(): boolean {
    return this.#unsent > 0;
  }

  async #write(line: string): Promise<void> {
    this.#unsent++;
    try {
      // For a long line both return a promise, and both may fail.
      await Promise.all([this.#sink.write(line), this.#sink.flush()]);
    } catch {
      this.#isOpen = false;
    } finally {
      this.#unsent--;
    }
  }

  async #listen(hear: (message: Heard) => void): Promise<void> {
    const chunks = Bun.file(this.#descriptor).stream()[Symbol.asyncIterator]();
    const decoder = new TextDecoder();
    let rest = "";
    // Only a task that writes into its worker's channel sends longer lines.
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

/** Resolves with null at EOF, and at an error: a peer that died with unread input causes one. */
const nextOf = async (chunks: AsyncIterator<Uint8Array>): Promise<Uint8Array | null> => {
  try {
    const { done, value } = await chunks.next();
    return done === true ? null : value;
  } catch {
    return null;
  }
};

/** Ignores invalid JSON: it comes from a task that writes into its worker's channel. */
const hearLine = <Heard>(line: string, hear: (message: Heard) => void): void => {
  let message: Heard;
  try {
    message = JSON.parse(line);
  } catch {
    return;
  }
  if (typeof message === "object" && message !== null) hear(message);
};
