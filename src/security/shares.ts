/** How much of a queue each client takes up, so that none can fill it for all others. Constant cost for each request. */

/** What one client may have in flight. */
export interface ShareLimits {
  readonly jobs: number;
  readonly bytes: number;
}

/** What one client has in flight. */
export interface Share {
  /** Where it is kept, and under which key. */
  readonly shares: Map<string, Share>;
  readonly client: string;
  jobs: number;
  bytes: number;
}

export class Shares {
  /** Of those who are known by name, and of the connections of all others. */
  readonly #byUser = new Map<string, Share>();
  readonly #byPeer = new Map<string, Share>();

  constructor(private readonly limits: ShareLimits) {}

  /** Clients that have something in flight. */
  get clients(): number {
    return this.#byUser.size + this.#byPeer.size;
  }

  /**
   * Adds to what that client has in flight: who is known by name has one share for all its connections. Gives the share, to be
   * given back by `release`, or says in one line why it would be too much.
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
    // An entry for nothing must not stay: connections come and go.
    if (share.jobs === 0) share.shares.delete(share.client);
  }
}
