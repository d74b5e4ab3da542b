/**
 * The interface of a transport: `Listener` accepts connections, `Connection` makes one. Router,
 * workers and clients need not know which transport carries their messages. A message is a list of
 * frames.
 */

/** One frame of a message: its bytes, or its text if that is known to be UTF-8. */
export type MessageFrame = Uint8Array | string;

/** `full`: the peer's queue is at its limit. `unreachable`: no such peer is connected. */
export type SendResult = "sent" | "full" | "unreachable";

/** Messages that have arrived from one peer or from several. */
export interface Inbox {
  /** Key of the peer that sent the message received last. */
  readonly peer: string;
  /** True if messages begin with the envelope of a ZeroMQ requestor. */
  readonly hasEnvelopes: boolean;
  /** The reason, in a few words, why this end cut the connection; null if it did not. */
  readonly cutReason: string | null;
  /**
   * Returns the next message, or null if there is none; never waits. A peer's last one `saysLost`.
   * @param framesMax number of frames that are kept of a message with more
   */
  tryReceive(framesMax?: number): MessageFrame[] | null;
}

/**
 * An address that peers connect to. Each peer has a key, unique among all listeners of a process.
 * The first character of a key tells the transport: U+0000 to U+00FF belong to ZeroMQ, whose keys
 * are the bytes of a routing id; every other transport's keys, and those of a further ZeroMQ
 * socket, begin with a character of their own above U+00FF.
 */
export interface Listener<Source extends Inbox = Inbox> {
  /** Calls `handler` whenever there is something to receive; it must take at least one message. */
  onReadable(handler: (inbox: Source) => void): void;
  /** Returns true if the key is that of a peer of this listener, connected or not. */
  has(peer: string): boolean;
  /** Takes a whole message or nothing, and sends it at the next `flush` at the latest. */
  gather(peer: string, frames: readonly MessageFrame[]): SendResult;
  /**
   * Sends the gathered messages.
   * @param isUrgent the caller may block soon, so wait a little for peers that read
   */
  flush(isUrgent?: boolean): void;
  /** Closes after unsent messages are out, or after the lingering time. */
  close(): void;
}

/** The end that connects. */
export interface Connection {
  readonly closed: boolean;
  /** Calls `handler` whenever there is something to receive; it must take everything. */
  onReadable(handler: () => void): void;
  /** Sends a whole message or nothing; never waits long. */
  trySend(frames: readonly MessageFrame[]): SendResult;
  /** Returns the next message or null. The last one of each connection `saysLost`. */
  tryReceive(): MessageFrame[] | null;
  close(): void;
}

/** A client's connection. When it is lost, unsent messages are lost with it. */
export interface ClientConnection extends Connection {
  /**
   * True if a message sent now uses the same connection as the last received one; false while an
   * unread message may say that it is lost. One check holds for `unlostMs`, so that messages sent
   * in a row need not check each time.
   */
  readonly isClear: boolean;
  /** Waits at most `ms` until sent messages are out; receives no more. Call it before `close`. */
  linger(ms: number): Promise<void>;
}

/** A reconnect takes over 1 ms, so one check holds so long. */
export const unlostMs = 1;

/** The only frame of a message that means a lost connection. It is not JSON: no peer sends it. */
export const lostConnection = "\0lost";

export const saysLost = (frames: readonly MessageFrame[]): boolean => {
  if (frames.length !== 1) return false;
  const [first] = frames;
  return typeof first === "string" ? first === lostConnection : first?.[0] === 0;
};

/** All listeners of one service, by any of which a peer may have come. */
export class Listeners {
  readonly #all: Listener[] = [];

  add(listener: Listener): void {
    this.#all.push(listener);
  }

  /** Passes the message to the listener that has the peer. */
  gather(peer: string, frames: readonly MessageFrame[]): SendResult {
    for (const listener of this.#all) if (listener.has(peer)) return listener.gather(peer, frames);
    return "unreachable";
  }

  flush(isUrgent?: boolean): void {
    for (const listener of this.#all) listener.flush(isUrgent);
  }

  /** The one that was added last is closed first. */
  close(): void {
    for (const listener of this.#all.toReversed()) listener.close();
  }
}
