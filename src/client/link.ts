/** One way from a client to whoever serves at its endpoint, for as long as that connection lasts. */
import type { Frame } from "../protocol/frame.ts";

/** What `receive` gives behind the last message: the connection is gone. */
export const lost = Symbol("lost");

/** ms that a look whether it is clear counts. A connection takes longer to be lost, and to be there again. */
export const lookMs = 1;

export interface Link {
  readonly closed: boolean;
  /**
   * Whether what is sent now goes by the very connection that the last message came by. Not while there is anything unread which may be
   * the word that it is lost. A look of just now will do: what is sent in a row must not look each time.
   */
  readonly isClear: boolean;
  /** Calls the handler whenever there is something to receive; the handler must take at least one message. */
  onReadable(handler: () => void): void;
  /** Takes a whole message or nothing; never waits. False: the connection takes nothing more at present. */
  send(frames: readonly string[]): boolean;
  /** The next message, or null where there is none. */
  receive(): readonly Frame[] | null | typeof lost;
  /** Ends it. What was sent still goes out, if that takes no longer than so many ms. */
  close(lingerMs: number): Promise<void>;
}
