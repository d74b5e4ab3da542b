/**
 * Calls back from Bun's event loop when a descriptor is readable. Bun has no such API, so the
 * descriptor is read like a file.
 */
import { libc } from "./libc.ts";
import type { Alert } from "./reactor.ts";

interface Words {
  read(): Promise<{ readonly value?: Uint8Array | undefined }>;
  cancel(): Promise<void>;
}

interface DescriptorAlertOptions {
  /** Is the alert's own from now on. */
  readonly descriptor: number;
  /** The descriptor is shared, so what is read is written back. */
  readonly givesBack: boolean;
  /** Called after each reading, and a last time when the other end has been closed. */
  readonly onAlert: (isLast: boolean) => void;
}

export class DescriptorAlert implements Alert {
  readonly #options: DescriptorAlertOptions;
  readonly #words: Words;
  /** Null while it is listened to. */
  #resume: (() => void) | null = null;
  #isPaused = false;
  #isOver = false;

  constructor(options: DescriptorAlertOptions) {
    this.#options = options;
    this.#words = Bun.file(options.descriptor).stream().getReader();
    void this.#listen();
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    this.#resume?.();
  }

  /** Stops reading. A pending read of a shared descriptor must not take another reader's event. */
  end(): void {
    this.#isOver = true;
    // The reader gets the error.
    this.#words.cancel().catch(() => undefined);
    this.#resume?.();
  }

  async #listen(): Promise<void> {
    const { descriptor, givesBack, onAlert } = this.#options;
    while (!this.#isOver) {
      const value = await this.#read();
      // Also where it is over: then the other waits for it.
      if (givesBack && value !== undefined && libc.write(descriptor, value, value.length) !== value.length) {
        throw new Error("a word that there is something to do cannot be given back");
      }
      if (this.#isOver) break;
      onAlert(value === undefined);
      if (value === undefined) {
        // Its owner may not be done with it: its number must not become another's before.
        while (!this.#isOver) await this.#untilResumed();
        break;
      }
      // An event that is not read would be reported again and again.
      if (this.#isPaused) await this.#untilResumed();
    }
    libc.close(descriptor);
  }

  /** Undefined once there will be no more. A connection may end by an error, too. */
  async #read(): Promise<Uint8Array | undefined> {
    try {
      return (await this.#words.read()).value;
    } catch (error) {
      if (this.#options.givesBack) throw error;
      return undefined;
    }
  }

  async #untilResumed(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#resume = resolve;
    });
    this.#resume = null;
  }
}
