/**
 * What speaking to systemd takes and Bun has no API for, as calls of the C library: datagrams to a unix socket, and the clock
 * that systemd compares by (Bun's own begin at zero with the process).
 */
import { cString, libc } from "../transport/libc.ts";

const monotonicClock = 1; // CLOCK_MONOTONIC, clock_gettime(2)
const unixFamily = 1; // AF_UNIX
const datagramCloseOnExec = 2 | 0o2000000; // SOCK_DGRAM | SOCK_CLOEXEC
const neverWaitNorSignal = 0x40 | 0x4000; // MSG_DONTWAIT | MSG_NOSIGNAL
const pathBytesMax = 107; // of sun_path's 108 in unix(7), without the NUL at the end

export class DatagramSocket implements Disposable {
  readonly #address: Buffer;
  readonly #descriptor: number;

  /** @param address of the receiver: an absolute path, or a name of the abstract namespace with `@` in front. Throws Error */
  constructor(address: string) {
    this.#address = socketAddress(address);
    this.#descriptor = libc.socket(unixFamily, datagramCloseOnExec, 0);
    if (this.#descriptor < 0) throw new Error("the system has no socket to give");
  }

  /** Sends at once; false if the receiver has no room for it at present, or is not there. */
  send(text: string): boolean {
    const bytes = Buffer.from(text);
    const sent = libc.sendto(
      this.#descriptor,
      bytes,
      bytes.length,
      neverWaitNorSignal,
      this.#address,
      this.#address.length,
    );
    return Number(sent) === bytes.length;
  }

  [Symbol.dispose](): void {
    libc.close(this.#descriptor);
  }
}

/** µs of CLOCK_MONOTONIC */
export const monotonicUs = (): bigint => {
  const time = new BigInt64Array(2); // struct timespec: seconds and nanoseconds
  libc.clock_gettime(monotonicClock, time);
  const [seconds = 0n, nanoseconds = 0n] = time;
  return seconds * 1_000_000n + nanoseconds / 1_000n;
};

/** `struct sockaddr_un` of unix(7): the family, then a path that ends with NUL, or NUL and an abstract name that its length ends. */
const socketAddress = (address: string): Buffer => {
  const isAbstract = address.startsWith("@");
  if (!isAbstract && !address.startsWith("/")) throw new Error(`${address} is neither an absolute path nor @NAME`);
  const path = isAbstract ? Buffer.from(`\0${address.slice(1)}`) : cString(address);
  if (path.length > pathBytesMax + 1) throw new Error(`${address} is longer than a socket's path can be`);
  const family = Buffer.alloc(2);
  family.writeUInt16LE(unixFamily); // in the order of the machine, which on x64 and arm64 is this one
  return Buffer.concat([family, path]);
};
