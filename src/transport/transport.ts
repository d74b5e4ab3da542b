/**
 * The interface that every transport implements, so that router, workers and clients need not know which one carries their messages:
 * `Listener` for the end that others connect to, `Connection` for the end that connects. A message is a list of frames.
 */

/** One frame of a message: its bytes, or its text where it is known to be UTF-8. */
export type MessageFrame = Uint8Array | string;

/** The outcome of a send. `full`: the peer's queue is at its limit. `unreachable`: there is no such peer (any more). */
export type SendResult = "sent" | "full" | "unreachable";

/** Messages that have come in, of one peer or of several. */
export interface Inbox {
  /** Key of the peer that has sent the message received last. */
  readonly peer: string;
  /** Whether messages begin with the envelope of a ZeroMQ requestor. */
  readonly hasEnvelopes: boolean;
  /** Why this end has cut the connection, in a few words; null where it has not. */
  readonly cutReason: string | null;
  /**
   * The next message, or null where there is none; never waits. The last one of a peer `saysLost`.
   * @param framesMax of a message with more frames, only so many are kept
   */
  tryReceive(framesMax?: number): MessageFrame[] | null;
}

/** An address that peers connect to. Each peer has a key, which is unique among all listeners of a process. */
export interface Listener {
  /** Calls `handler` whenever there is something to receive; it must take at least one message. */
  onReadable(handler: (inbox: Inbox) => void): void;
  /** Whether the key is of one of its peers, even if that is gone. */
  has(peer: string): boolean;
  /** Takes a whole message or nothing, and sends it by the next `flush` at the latest. */
  gather(peer: string, frames: readonly MessageFrame[]): SendResult;
  /** Sends the gathered messages. @param isUrgent nothing else may run soon: a peer that reads is waited for a little */
  flush(isUrgent?: boolean): void;
  /** What is unsent goes out within the lingering time. */
  close(): void;
}

/** The end that connects. */
export interface Connection {
  readonly closed: boolean;
  /** Calls `handler` whenever there is something to receive; it must take all that there is. */
  onReadable(handler: () => void): void;
  /** Sends a whole message or nothing; never waits long. */
  trySend(frames: readonly MessageFrame[]): SendResult;
  /** The next message, or null where there is none. One that `saysLost` follows the last one of each connection. */
  tryReceive(): MessageFrame[] | null;
  close(): void;
}

/** A client's connection. It is thrown away when it is lost, with what it has not sent yet. */
export interface ClientConnection extends Connection {
  /**
   * Whether a message that is sent now goes by the very connection that the last message came by: false while something unread may
   * say that it is lost. A look counts for `unlostMs`, so that messages sent in a row need not look each time.
   */
  readonly isClear: boolean;
  /** Waits until what was sent is out, ms at the most, and receives nothing any more. To be called before `close`. */
  linger(ms: number): Promise<void>;
}

/** ms. A connection takes longer to be lost and to be there again. */
export const unlostMs = 1;

/** The one frame of a message that stands for the end of a connection. No frame of a peer looks like it: it is not JSON. */
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

  /** As that of the listener which has the peer. */
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
