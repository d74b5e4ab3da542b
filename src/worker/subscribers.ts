/**
 * How much each connection to a data port has subscribed to. libzmq keeps every prefix, a node for each of its bytes, for as
 * long as the connection stands, and has no bound for that.
 */
import { subscriptionPrefixBytesMax, subscriptionsMax } from "../limits.ts";
import { peerAddressOf } from "../zmq/connections.ts";

interface Account {
  /** The peer's address: the descriptor may be another connection's by now. */
  readonly address: string;
  subscriptions: number;
  bytes: number;
}

export class Subscribers {
  /** By descriptor: there are no more of them than a process may have. */
  readonly #accounts = new Map<number, Account>();

  /** One subscription more. False where that is more than one connection may have: it should be cut. */
  begin(descriptor: number, prefix: Uint8Array): boolean {
    const account = this.#accountOf(descriptor);
    if (account === null) return false;
    account.subscriptions++;
    account.bytes += prefix.length;
    return account.subscriptions <= subscriptionsMax && account.bytes <= subscriptionPrefixBytesMax;
  }

  /** One less. */
  end(descriptor: number, prefix: Uint8Array): void {
    const account = this.#accounts.get(descriptor);
    if (account === undefined || account.address !== peerAddressOf(descriptor)) return;
    account.subscriptions = Math.max(0, account.subscriptions - 1);
    account.bytes = Math.max(0, account.bytes - prefix.length);
  }

  /** null where the connection is gone. */
  #accountOf(descriptor: number): Account | null {
    const address = peerAddressOf(descriptor);
    if (address === null) {
      this.#accounts.delete(descriptor);
      return null;
    }
    const known = this.#accounts.get(descriptor);
    if (known?.address === address) return known;
    const account = { address, subscriptions: 0, bytes: 0 };
    this.#accounts.set(descriptor, account);
    return account;
  }
}
