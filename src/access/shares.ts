/** How much of a queue each client takes up, so that none can fill it for all others. Constant cost for each request. */

/** What one client may have in flight. */
export interface ShareLimits {
  readonly jobs: number;
  readonly bytes: number;
}

/** What one client has in flight. */
export interface Share {
  readonly client: string;
  jobs: number;
  bytes: number;
}

export class Shares {
  readonly #byClient = new Map<string, Share>();

  constructor(private readonly limits: ShareLimits) {}

  /** Clients that have something in flight. */
  get clients(): number {
    return this.#byClient.size;
  }

  /**
   * Adds to what that client has in flight: who is known by name has one share for all its connections. Gives the share, to be
   * given back by `release`, or says in one line why it would be too much.
   * @param peer key of the connection
   */
  take(peer: string, user: string | null, jobs: number, bytes: number): Share | string {
    const client = user === null ? `connection ${peer}` : `client ${user}`;
    const share = this.#byClient.get(client) ?? { client, jobs: 0, bytes: 0 };
    if (share.jobs + jobs > this.limits.jobs || share.bytes + bytes > this.limits.bytes) {
      const who = user === null ? "this connection" : client;
      const limits = `the limits of one client are ${this.limits.jobs} jobs and ${this.limits.bytes} bytes`;
      return `${who} has ${share.jobs} jobs (${share.bytes} bytes) in flight; ${limits}; ask again later`;
    }
    share.jobs += jobs;
    share.bytes += bytes;
    this.#byClient.set(client, share);
    return share;
  }

  release(share: Share, jobs: number, bytes: number): void {
    share.jobs -= jobs;
    share.bytes -= bytes;
    // An entry for nothing must not stay: connections come and go.
    if (share.jobs === 0) this.#byClient.delete(share.client);
  }
}
