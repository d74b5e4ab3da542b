/**
 * Counts the subscriptions of each client at a data port. libzmq keeps every prefix, a node for
 * each of its bytes, for as long as the connection stands, and has no limit for that.
 */
import { allPrefixBytesMax, subscriptionPrefixBytesMax, subscriptionsMax } from "../limits.ts";
import { peerAddressOf } from "../transport/zmq/connections.ts";

/** The total of one client: over all connections of a user, else of one connection. */
interface SubscriptionTotal {
  subscriptions: number;
  bytes: number;
}

/** The subscriptions of one connection. */
interface SubscriberConnection {
  /** The peer's address: the descriptor may be another connection's by now. */
  readonly address: string;
  readonly user: string | null;
  readonly total: SubscriptionTotal;
  /** Each as a string of as many characters as it has bytes. */
  readonly prefixes: Set<string>;
}

export class Subscribers {
  /** Connections by descriptor, of which a process has a limited number. */
  readonly #connections = new Map<number, SubscriberConnection>();
  /** Totals by user. */
  readonly #totals = new Map<string, SubscriptionTotal>();
  /** Bytes of all prefixes. */
  #bytes = 0;
  /** The number of connections that have each prefix. */
  readonly #prefixes = new Map<string, number>();
  /** Changes whenever `covers` may answer otherwise. */
  version = 0;

  /** @param onGone is told the descriptor of a connection whose end was noticed */
  constructor(private readonly onGone: (descriptor: number) => void) {}

  /** There are none. */
  get isEmpty(): boolean {
    return this.#prefixes.size === 0;
  }

  /** Returns true if somebody may want a topic of that name. */
  covers(topic: string): boolean {
    const name = Buffer.from(topic).toString("latin1");
    for (let length = 0; length <= name.length; length++) {
      if (this.#prefixes.has(name.slice(0, length))) return true;
    }
    return false;
  }

  /** Counts one subscription more. Returns false above the limits: its connection should be cut. */
  begin(descriptor: number, user: string | null, prefix: Uint8Array): boolean {
    const connection = this.#connectionOf(descriptor, user);
    if (connection === null) return false;
    const key = prefixKey(prefix);
    // libzmq, too, keeps it once.
    if (connection.prefixes.has(key)) return true;
    if (!this.#hasRoom(connection, prefix)) {
      this.forgetTheGone();
      if (!this.#hasRoom(connection, prefix)) return false;
    }
    connection.prefixes.add(key);
    this.#add(connection, key, 1);
    return true;
  }

  /** Counts one less, if there was one. */
  end(descriptor: number, prefix: Uint8Array): void {
    const connection = this.#connections.get(descriptor);
    if (connection === undefined || connection.address !== peerAddressOf(descriptor)) return;
    const key = prefixKey(prefix);
    if (connection.prefixes.delete(key)) this.#add(connection, key, -1);
  }

  #hasRoom({ total }: SubscriberConnection, prefix: Uint8Array): boolean {
    const bytes = bytesOf(prefix);
    return (
      total.subscriptions < subscriptionsMax &&
      total.bytes + bytes <= subscriptionPrefixBytesMax &&
      this.#bytes + bytes <= allPrefixBytesMax
    );
  }

  /** @param count 1 for a subscription more, −1 for one less */
  #add({ total }: SubscriberConnection, key: string, count: 1 | -1): void {
    const bytes = count * bytesOf(key);
    total.subscriptions += count;
    total.bytes += bytes;
    this.#bytes += bytes;
    const having = (this.#prefixes.get(key) ?? 0) + count;
    if (having > 0) this.#prefixes.set(key, having);
    else this.#prefixes.delete(key);
    this.version++;
  }

  /** null for a connection that is gone */
  #connectionOf(descriptor: number, user: string | null): SubscriberConnection | null {
    const address = peerAddressOf(descriptor);
    const known = this.#connections.get(descriptor);
    if (known !== undefined && known.address === address) return known;
    this.#forget(descriptor);
    if (address === null) return null;
    const connection = { address, user, total: this.#totalOf(user), prefixes: new Set<string>() };
    this.#connections.set(descriptor, connection);
    return connection;
  }

  /** In an engine without keys each connection has a total of its own. */
  #totalOf(user: string | null): SubscriptionTotal {
    const total = (user === null ? undefined : this.#totals.get(user)) ?? { subscriptions: 0, bytes: 0 };
    if (user !== null) this.#totals.set(user, total);
    return total;
  }

  /** libzmq does not tell the end of a connection, so it is looked for when there is no room. */
  forgetTheGone(): void {
    for (const [descriptor, { address }] of this.#connections) {
      if (peerAddressOf(descriptor) !== address) this.#forget(descriptor);
    }
  }

  #forget(descriptor: number): void {
    const connection = this.#connections.get(descriptor);
    if (connection === undefined) return;
    this.#connections.delete(descriptor);
    for (const prefix of connection.prefixes) this.#add(connection, prefix, -1);
    this.onGone(descriptor);
    const { user, total } = connection;
    if (user !== null && total.subscriptions === 0) this.#totals.delete(user);
  }
}

/** The empty prefix becomes one for each other first byte: see `Publisher`. */
const bytesOf = ({ length }: Uint8Array | string): number => (length === 0 ? 255 : length);

const prefixKey = (prefix: Uint8Array): string =>
  Buffer.from(prefix.buffer, prefix.byteOffset, prefix.length).toString("latin1");
