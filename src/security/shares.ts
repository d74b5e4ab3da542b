/** Limits of each client, so that none fills a queue for all others. */

interface ShareLimits {
  readonly jobs: number;
  readonly bytes: number;
}

/** Jobs and bytes of one client in flight. */
export interface Share {
  /** The map and the key of this share. */
  readonly shares: Map<string, Share>;
  readonly client: string;
  jobs: number;
  bytes: number;
}

export class Shares {
  /** Shares by user; those of connections without one by the connection. */
  readonly #byUser = new Map<string, Share>();
  readonly #byPeer = new Map<string, Share>();

  constructor(private readonly limits: ShareLimits) {}

  get clients(): number {
    return this.#byUser.size + this.#byPeer.size;
  }

  /**
   * Adds to the share of a client; a user has one for all its connections. Returns the share, for
   * `release`, or one line that says which limit is exceeded.
   * @param peer key of the connection
   */
  take(peer: string, user: string | null, jobs: number, bytes: number): Share | string {
    const [shares, client] = user === null ? [this.#byPeer, peer] : [this.#byUser, user];
    const share = shares.get(client) ?? { shares, client, jobs: 0, bytes: 0 };
    if (share.jobs + jobs > this.limits.jobs || share.bytes + bytes > this.limits.bytes) {
      const who = user === null ? "this connection" : `client ${user}`;
      const limits = `the limits of one client are ${this.limits.jobs} jobs and ${this.limits.bytes} bytes`;
      return `${who} has ${share.jobs} jobs (${share.bytes} bytes) in flight; ${limits}; ask again later`;
    }
    share.jobs += jobs;
    share.bytes += bytes;
    if (share.jobs === jobs) shares.set(client, share);
    return share;
  }

  release(share: Share, jobs: number, bytes: number): void {
    share.jobs -= jobs;
    share.bytes -= bytes;
    // Connections come and go; an empty entry must not stay.
    if (share.jobs === 0) share.shares.delete(share.client);
  }
}
