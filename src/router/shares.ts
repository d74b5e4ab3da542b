/** How much of the router each client takes up, so that none can fill it for all others. Constant cost for each request. */
import { bytesPerClientMax, jobsPerClientMax } from "../limits.ts";
import type { Requestor } from "./job.ts";

/** What one client has in flight. */
export interface Share {
  readonly client: string;
  jobs: number;
  bytes: number;
}

export class Shares {
  readonly #byClient = new Map<string, Share>();

  /** Clients that have something in flight. */
  get clients(): number {
    return this.#byClient.size;
  }

  /**
   * Adds to what that client has in flight: who is known by name has one share for all its connections. Gives the share, to be
   * given back by `release`, or says in one line why it would be too much.
   */
  take(requestor: Requestor, user: string | null, jobs: number, bytes: number): Share | string {
    const client = user === null ? `connection ${connectionOf(requestor)}` : `client ${user}`;
    const share = this.#byClient.get(client) ?? { client, jobs: 0, bytes: 0 };
    if (share.jobs + jobs > jobsPerClientMax || share.bytes + bytes > bytesPerClientMax) {
      const who = user === null ? "this connection" : client;
      const limits = `the limits of one client are ${jobsPerClientMax} jobs and ${bytesPerClientMax} bytes`;
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

/** Its routing id, bytes, as text of as many characters. */
const connectionOf = ([id = noBytes]: Requestor): string =>
  Buffer.from(id.buffer, id.byteOffset, id.length).toString("latin1");

const noBytes = new Uint8Array(0);
