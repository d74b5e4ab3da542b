/** A ROUTER socket as a `Listener`. */
import { socketPathBytesMax } from "../shm/unix.ts";
import type { Inbox, Listener, MessageFrame, SendResult } from "../transport.ts";
import type { SocketOptions } from "./options.ts";
import { Router } from "./socket.ts";

const noBytes: Uint8Array = new Uint8Array(0);

export class ZmqListener implements Listener, Inbox {
  readonly socket: Router;
  readonly hasEnvelopes = true;
  readonly cutReason = null;
  peer = "";
  /** The routing id that `peer` is the key of. */
  #id = noBytes;

  /** @param prefix of all keys of peers, which tells two sockets of one process apart */
  constructor(
    options: SocketOptions,
    private readonly prefix: "" | "⇒" = "",
  ) {
    this.socket = new Router(options);
  }

  /** Throws ZmqError where the address cannot be had. */
  bind(host: string, port: number): void {
    this.socket.bind(`tcp://${host}:${port}`);
  }

  /**
   * The same for a Unix socket, which only this user can open. It replaces whatever has the path.
   */
  bindLocal(path: string): void {
    // libzmq binds in this call, so no other file gets the mask.
    const mask = process.umask(0o177);
    try {
      this.socket.bind(`ipc://${path}`);
    } finally {
      process.umask(mask);
    }
  }

  onReadable(handler: (inbox: Inbox) => void): void {
    this.socket.onReadable(() => handler(this));
  }

  /** A key has one character, U+0000 to U+00FF, for each byte of a routing id, after the prefix. */
  has(peer: string): boolean {
    return this.prefix === "" ? peer.charCodeAt(0) <= 0xff : peer.startsWith(this.prefix);
  }

  tryReceive(framesMax = Number.POSITIVE_INFINITY): MessageFrame[] | null {
    const message = this.socket.tryReceive(framesMax + 1);
    if (message === null) return null;
    const id = message.shift() ?? noBytes;
    // The socket returns the same frame for the same routing id in a row.
    if (id !== this.#id) {
      this.#id = id;
      this.peer = this.prefix + Buffer.from(id).toString("latin1");
    }
    return message;
  }

  gather(peer: string, frames: readonly MessageFrame[]): SendResult {
    return this.socket.trySend(
      frames,
      peer === this.peer ? this.#id : Buffer.from(peer.slice(this.prefix.length), "latin1"),
    );
  }

  flush(): void {
    // Nothing waits: libzmq's own thread sends.
  }

  close(): void {
    this.socket.close();
  }
}

/**
 * A listener at a Unix socket that only this user can open, or why there is none, in one phrase.
 * Its peers' keys have a prefix.
 */
export const openPrivateListener = (options: SocketOptions, path: string): ZmqListener | string => {
  const length = Buffer.byteLength(path);
  if (length > socketPathBytesMax) return `its path has ${length} bytes, and Linux allows ${socketPathBytesMax}`;
  const listener = new ZmqListener(options, "⇒");
  try {
    listener.bindLocal(path);
    return listener;
  } catch (failure) {
    listener.close();
    return (failure as Error).message;
  }
};
