/**
 * The second way to stop a robot, past the router: a Unix socket of the supervisor. A connection
 * sends one line:
 *
 * - `estop REASON` (the reason may be missing) stops the robot. The reply comes when nothing runs
 *   any more and the state of the disk is known: the stop as JSON `{"reason", "since", "durable"}`,
 *   with `why` where it is not durable.
 * - `reloaded` gets `waiting` at once and, when the next reload has ended, JSON `{"tasks"}` or
 *   `{"failure"}`. The reload itself is requested by SIGHUP, which only the engine's user and root
 *   may send.
 * - Any other line gets a reply that begins with `error`.
 *
 * Every user who can open the file may stop the robot: without keys all users of the machine, who
 * could do so by loopback anyway; with keys the engine's user and root. This module has both ends,
 * the supervisor's and that of `task-engine estop`.
 */
import { chmodSync, rmSync } from "node:fs";
import type { Socket, UnixSocketListener } from "bun";
import * as v from "valibot";
import { stopConnectionsMax, stopLineBytesMax, stopReasonLengthMax, stopSilenceSeconds } from "../limits.ts";
import type { StopResult } from "../process/messages.ts";
import { socketPathBytesMax } from "../transport/shm/unix.ts";

const command = "estop";
const reloadCommand = "reloaded";
const waiting = "waiting\n";
const answerSchema = v.object({
  reason: v.string(),
  since: v.number(),
  durable: v.optional(v.boolean(), false),
  why: v.exactOptional(v.string()),
});

/** The result of a reload: the number of tasks, or one line that says what is wrong. */
export type ReloadResult = { readonly tasks: number } | { readonly failure: string };

const reloadSchema = v.union([v.object({ failure: v.string() }), v.object({ tasks: v.number() })]);

/** A socket that cannot be had; `message` is one line for a person. */
export class StopSocketError extends Error {
  override readonly name = "StopSocketError";
}

/** A connection with its input so far; null after its first whole line. */
type StopConnection = Socket<{ line: string | null }>;

export class StopSocket {
  readonly #connections = new Set<StopConnection>();
  readonly #stop: (reason: string) => Promise<StopResult>;
  readonly #reloaded: () => Promise<ReloadResult>;
  readonly #listener: UnixSocketListener<{ line: string | null }>;

  /**
   * Replaces a socket file of an earlier engine, so the caller must hold the folder's lock. Throws
   * StopSocketError.
   * @param isPrivate for this user alone
   * @param stop resolves when all jobs have ended and the state of the disk is known
   * @param reloaded resolves when the next reload has ended
   */
  constructor(
    path: string,
    isPrivate: boolean,
    stop: (reason: string) => Promise<StopResult>,
    reloaded: () => Promise<ReloadResult>,
  ) {
    if (Buffer.byteLength(path) > socketPathBytesMax) {
      throw new StopSocketError(`the path ${path} is too long for a socket; name a shorter folder with --state`);
    }
    this.#stop = stop;
    this.#reloaded = reloaded;
    try {
      rmSync(path, { force: true });
      this.#listener = Bun.listen<{ line: string | null }>({
        unix: path,
        socket: {
          open: (socket) => this.#admit(socket),
          data: (socket, bytes) => this.#hear(socket, bytes),
          end: (socket) => this.#hear(socket, newline),
          timeout: (socket) => void socket.terminate(),
          close: (socket) => void this.#connections.delete(socket),
          error: (socket) => void this.#connections.delete(socket),
        },
      });
      chmodSync(path, isPrivate ? 0o600 : 0o666); // whatever the umask
    } catch (failure) {
      const why = (failure as Error).message;
      throw new StopSocketError(
        `the socket ${path} cannot be made: ${why}; fix it, or name another folder with --state`,
      );
    }
  }

  close(): void {
    this.#listener.stop(true);
  }

  #admit(socket: StopConnection): void {
    socket.data = { line: "" };
    socket.timeout(stopSilenceSeconds);
    this.#connections.add(socket);
    // A stop that it has asked for goes on.
    const [oldest] = this.#connections;
    if (this.#connections.size > stopConnectionsMax) oldest?.terminate();
  }

  #hear(socket: StopConnection, bytes: Uint8Array): void {
    const { data } = socket;
    if (data.line === null) return;
    data.line += Buffer.from(bytes).toString();
    const [line, ...rest] = data.line.split("\n");
    if (rest.length === 0 && data.line.length < stopLineBytesMax) return;
    data.line = null;
    void this.#obey(socket, line ?? "");
  }

  async #obey(socket: StopConnection, line: string): Promise<void> {
    const [word, ...reason] = line.trim().split(" ");
    if (word === reloadCommand) {
      const result = this.#reloaded();
      socket.timeout(0);
      socket.write(waiting);
      socket.end(`${JSON.stringify(await result)}\n`);
      return;
    }
    if (word !== command) {
      socket.end(`error: say \`${command} REASON\`\n`);
      return;
    }
    // A stop may take longer than a connection may be silent.
    socket.timeout(0);
    const stopped = await this.#stop(reason.join(" ").slice(0, stopReasonLengthMax));
    socket.end(`${JSON.stringify(stopped)}\n`);
  }
}

const newline = Buffer.from("\n");

/**
 * Asks the engine that listens at `path` for an emergency stop. Resolves when all its jobs have
 * ended. Rejects with an error of one line if no engine listens there or it does not answer.
 */
export const stopBySocket = async (path: string, reason: string, signal: AbortSignal): Promise<StopResult> => {
  const text = await ask(path, `${command} ${reason.replaceAll(/\s+/g, " ")}`, signal);
  return parsed(path, text, answerSchema);
};

/**
 * Waits for the end of the next reload of the engine at `path`. Rejects as `stopBySocket` does.
 * @param begin asks for the reload, when the engine has confirmed the wait; its errors are thrown
 * on
 */
export const reloadBySocket = async (path: string, begin: () => void, signal: AbortSignal): Promise<ReloadResult> => {
  let failure: unknown = null;
  const text = await ask(path, reloadCommand, signal, (said, giveUp) => {
    if (said !== waiting) return;
    try {
      begin();
    } catch (error) {
      failure = error;
      giveUp();
    }
  });
  if (failure !== null) throw failure;
  if (text === waiting) throw new Error(`the engine at ${path} has ended during the reload`);
  return parsed(path, text.replace(waiting, ""), reloadSchema);
};

const parsed = <Schema extends v.GenericSchema>(path: string, text: string, schema: Schema): v.InferOutput<Schema> => {
  const answer = v.safeParse(v.pipe(v.string(), v.parseJson(), schema), text);
  if (answer.success) return answer.output;
  throw new Error(`cannot understand the answer at ${path}: ${JSON.stringify(text.slice(0, 200))}`);
};

/**
 * Sends a line, and resolves with everything received until EOF.
 * @param onSaid is called with everything received so far, whenever there is more
 */
const ask = async (
  path: string,
  line: string,
  signal: AbortSignal,
  onSaid: (said: string, giveUp: () => void) => void = () => undefined,
): Promise<string> => {
  const { promise: answer, resolve, reject } = Promise.withResolvers<string>();
  let said = "";
  const socket = await Bun.connect({
    unix: path,
    socket: {
      data: (connection, bytes) => {
        said += Buffer.from(bytes).toString();
        onSaid(said, () => connection.terminate());
      },
      close: () => resolve(said),
      error: (_, error) => reject(error),
    },
  }).catch(({ code, message }: Error & { code?: string }) => {
    const isAbsent = code === "ENOENT" || code === "ECONNREFUSED";
    throw new Error(`${isAbsent ? "no engine listens at" : "no connection to"} ${path} (${code ?? message})`);
  });
  const onAbort = (): void => {
    reject(new Error(`no answer at ${path} in time`));
    socket.terminate();
  };
  signal.addEventListener("abort", onAbort, { once: true });
  socket.write(`${line}\n`);
  try {
    return await answer;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
};
