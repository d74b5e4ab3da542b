/** Tells, in Bun's own event loop, when libzmq has something to do for one socket. */
import { duplicate, libc } from "./library.ts";
import type { Alert, Source } from "./reactor.ts";

interface Words {
  read(): Promise<{ readonly value?: Uint8Array | undefined }>;
  cancel(): Promise<void>;
}

/**
 * Reads the descriptor that libzmq has for a socket, an eventfd(2), as a file is read. What is read was libzmq's own word that there
 * is something to do; it is written back, so that libzmq finds it, too.
 */
export class DescriptorAlert implements Alert {
  /** Our own to the same eventfd: libzmq closes its one when it likes, and that number may then be another file's. */
  readonly #descriptor: number;
  readonly #socket: Pick<Source, "expect">;
  readonly #onAlert: () => void;
  readonly #words: Words;
  /** Null while it is listened to. */
  #resume: (() => void) | null = null;
  #isPaused = false;
  #isOver = false;

  constructor(socket: Pick<Source, "descriptor" | "expect">, onAlert: () => void) {
    this.#descriptor = libc.fcntl(socket.descriptor, duplicate, 0);
    if (this.#descriptor < 0) throw new Error("there is no file descriptor left to wait for a socket");
    this.#socket = socket;
    this.#onAlert = onAlert;
    this.#words = Bun.file(this.#descriptor).stream().getReader();
    void this.#listen();
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    this.#resume?.();
  }

  /** From now on nothing is taken from the eventfd: libzmq's own thread is about to wait for it. */
  end(): void {
    this.#isOver = true;
    void this.#words.cancel();
    this.#resume?.();
  }

  async #listen(): Promise<void> {
    while (!this.#isOver) {
      const { value } = await this.#words.read();
      // Also where it is over: then libzmq's own thread waits for it.
      if (value !== undefined && libc.write(this.#descriptor, value, value.length) !== value.length) {
        throw new Error("libzmq's word that there is something to do cannot be given back");
      }
      if (value === undefined || this.#isOver) break;
      this.#socket.expect();
      this.#onAlert();
      // What is not taken would be said again and again.
      if (this.#isPaused) await this.#untilResumed();
    }
    libc.close(this.#descriptor);
  }

  async #untilResumed(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#resume = resolve;
    });
    this.#resume = null;
  }
}
