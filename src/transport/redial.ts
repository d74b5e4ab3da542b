/**
 * A connection that comes back: it holds one link, and another one each time that it is lost.
 *
 * A link stands once the peer has answered a first message. For a peer on this machine the local
 * link is tried first. Where that finds nobody, ZeroMQ waits for the peer, and the local link is
 * tried again once it is there.
 */
import { localAnswerMs, reconnectMs, reconnectMsMax } from "../limits.ts";

interface RedialOptions<Link> {
  /** Connects by shared memory; null where there is no such way at present. */
  readonly local: () => Link | null;
  /** Connects by ZeroMQ, in the background; null where there is no such way. */
  readonly zmq: (() => Promise<Link>) | null;
  /** Reads the link from now on, and sends a message that the peer answers. */
  readonly use: (link: Link) => void;
  /** @param hasStood the link was in use */
  readonly onLost: (hasStood: boolean) => void;
  /** No link could be begun, for `fault`. */
  readonly onFault?: () => void;
}

export class Redial<Link extends { close(): void }> {
  readonly #options: RedialOptions<Link>;
  /** null while it is lost, and once it is closed. */
  link: Link | null = null;
  stands = false;
  /** Why no link could be begun; null if one could. */
  fault: string | null = null;
  /** The last local link was lost before it stood, so the next one goes by ZeroMQ. */
  isLocalRefused = false;
  #isLocal = false;
  #isClosed = false;
  #timer: Timer | undefined;

  constructor(options: RedialOptions<Link>) {
    this.#options = options;
    void this.#open();
  }

  /** The peer has answered for the first time. Returns false if another link is tried instead. */
  stand(): boolean {
    clearTimeout(this.#timer);
    this.stands = this.#isLocal || !this.tryLocal();
    return this.stands;
  }

  /**
   * Tries the local link in the place of another one that does not stand. Returns false if there is
   * none.
   */
  tryLocal(): boolean {
    const { link } = this;
    if (link !== null && this.#isLocal) return true;
    if (!this.#openLocal()) return false;
    link?.close();
    return true;
  }

  /** The link is lost. Everything that came by it was read. */
  lose(): void {
    const { stands } = this;
    this.isLocalRefused = this.#isLocal && !stands;
    this.#drop()?.close();
    // After a pause, since a peer may take connections and drop them.
    this.#openLater(reconnectMs);
    this.#options.onLost(stands);
  }

  /** Ends it, and returns the link, which is to be closed. */
  close(): Link | null {
    this.#isClosed = true;
    return this.#drop();
  }

  async #open(): Promise<void> {
    if (this.#openLocal()) return;
    const { zmq } = this.#options;
    if (zmq === null) return this.#openLater(reconnectMsMax);
    try {
      const link = await zmq();
      if (this.#isClosed || this.link !== null) return link.close();
      this.#use(link, false);
    } catch (error) {
      this.fault = error instanceof Error ? error.message : String(error);
      this.#options.onFault?.();
      this.#openLater(reconnectMsMax);
    }
  }

  #openLocal(): boolean {
    const link = this.isLocalRefused ? null : this.#options.local();
    if (link === null) return false;
    this.#use(link, true);
    // A process that listens there and says nothing must not keep us from the port.
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.lose(), localAnswerMs);
    return true;
  }

  #use(link: Link, isLocal: boolean): void {
    this.link = link;
    this.#isLocal = isLocal;
    this.fault = null;
    this.#options.use(link);
  }

  #drop(): Link | null {
    const { link } = this;
    clearTimeout(this.#timer);
    this.stands = false;
    this.link = null;
    return link;
  }

  #openLater(ms: number): void {
    clearTimeout(this.#timer);
    if (!this.#isClosed) this.#timer = setTimeout(() => void this.#open(), ms);
  }
}
