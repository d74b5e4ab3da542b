/**
 * How much is subscribed to at a data port, by whom. libzmq keeps every prefix, a node for each of its bytes, for as long as
 * the connection stands, and has no bound for that.
 */
import { allPrefixBytesMax, subscriptionPrefixBytesMax, subscriptionsMax } from "../limits.ts";
import { peerAddressOf } from "../transport/zmq/connections.ts";

/** What one client has, over all of its connections where it is known by name. */
interface Share {
  subscriptions: number;
  bytes: number;
}

/** One connection. */
interface Account {
  /** The peer's address: the descriptor may be another connection's by now. */
  readonly address: string;
  readonly user: string | null;
  readonly share: Share;
  /** Bytes as text of as many characters. Who unsubscribes from what is not here gets nothing back. */
  readonly prefixes: Set<string>;
}

export class Subscribers {
  /** By descriptor: there are no more of them than a process may have. */
  readonly #accounts = new Map<number, Account>();
  readonly #shares = new Map<string, Share>();
  #bytes = 0;

  /** One subscription more. False where that is more than may be: its connection should be cut. */
  begin(descriptor: number, user: string | null, prefix: Uint8Array): boolean {
    const account = this.#accountOf(descriptor, user);
    if (account === null) return false;
    const key = keyOf(prefix);
    // libzmq, too, keeps it once.
    if (account.prefixes.has(key)) return true;
    if (!this.#hasRoom(account, prefix)) {
      this.#forgetTheGone();
      if (!this.#hasRoom(account, prefix)) return false;
    }
    account.prefixes.add(key);
    this.#count(account, 1, prefix.length);
    return true;
  }

  /** One less. */
  end(descriptor: number, prefix: Uint8Array): void {
    const account = this.#accounts.get(descriptor);
    if (account === undefined || account.address !== peerAddressOf(descriptor)) return;
    if (account.prefixes.delete(keyOf(prefix))) this.#count(account, -1, -prefix.length);
  }

  #hasRoom({ share }: Account, { length }: Uint8Array): boolean {
    return (
      share.subscriptions < subscriptionsMax &&
      share.bytes + length <= subscriptionPrefixBytesMax &&
      this.#bytes + length <= allPrefixBytesMax
    );
  }

  #count({ share }: Account, subscriptions: number, bytes: number): void {
    share.subscriptions += subscriptions;
    share.bytes += bytes;
    this.#bytes += bytes;
  }

  /** null where the connection is gone. */
  #accountOf(descriptor: number, user: string | null): Account | null {
    const address = peerAddressOf(descriptor);
    const known = this.#accounts.get(descriptor);
    if (known !== undefined && known.address === address) return known;
    this.#forget(descriptor);
    if (address === null) return null;
    const account = { address, user, share: this.#shareOf(user), prefixes: new Set<string>() };
    this.#accounts.set(descriptor, account);
    return account;
  }

  /** Where nobody is known by name, each connection has its own. */
  #shareOf(user: string | null): Share {
    const share = (user === null ? undefined : this.#shares.get(user)) ?? { subscriptions: 0, bytes: 0 };
    if (user !== null) this.#shares.set(user, share);
    return share;
  }

  /** Nobody says when a connection ends: it is looked for where there is no room. */
  #forgetTheGone(): void {
    for (const [descriptor, { address }] of this.#accounts) {
      if (peerAddressOf(descriptor) !== address) this.#forget(descriptor);
    }
  }

  #forget(descriptor: number): void {
    const account = this.#accounts.get(descriptor);
    if (account === undefined) return;
    this.#accounts.delete(descriptor);
    for (const { length } of account.prefixes) this.#count(account, -1, -length);
    const { user, share } = account;
    if (user !== null && share.subscriptions === 0) this.#shares.delete(user);
  }
}

const keyOf = (prefix: Uint8Array): string =>
  Buffer.from(prefix.buffer, prefix.byteOffset, prefix.length).toString("latin1");
