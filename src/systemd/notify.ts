/**
 * Notifications to systemd (Type=notify), by the supervisor alone: ready, reloading, stopping, and
 * the watchdog's sign of life. Sources: sd_notify(3), sd_watchdog_enabled(3), systemd.service(5).
 */
import { notifyRetryMs, notifyTriesMax } from "../limits.ts";
import { warn } from "../process/log.ts";
import type { ServiceState } from "../process/messages.ts";
import { cString, libc } from "../transport/libc.ts";

interface NotifierOptions {
  /** Shown by `systemctl status` while the engine serves. */
  readonly readyStatus: string;
  /** ms that the engine may take to stop: systemd waits so long, whatever the unit says. */
  readonly stopMs: number;
}

/** Set by systemd for the main process of a service. */
const socketVariable = "NOTIFY_SOCKET";
const watchdogVariable = "WATCHDOG_USEC";
const watchdogPidVariable = "WATCHDOG_PID";

export class Notifier {
  /** µs of WatchdogSec=; null if it is not set. */
  readonly #watchdogUs: number | null;
  readonly #socket: DatagramSocket;
  readonly #options: NotifierOptions;
  /** Keeps the notifications in order. */
  #lastSent: Promise<void> = Promise.resolve();
  #isOver = false;

  private constructor(socket: DatagramSocket, watchdogUs: number | null, options: NotifierOptions) {
    this.#socket = socket;
    this.#watchdogUs = watchdogUs;
    this.#options = options;
  }

  /**
   * A notifier for the socket in the environment; null if systemd has not started this process, or
   * wants no notifications. Deletes the variables: the socket is for this process alone.
   */
  static take(environment: Record<string, string | undefined>, options: NotifierOptions): Notifier | null {
    const address = environment[socketVariable];
    const watchdogUs = watchdogOf(environment);
    for (const name of [socketVariable, watchdogVariable, watchdogPidVariable]) delete environment[name];
    if (address === undefined || address === "") return null;
    try {
      return new Notifier(new DatagramSocket(address), watchdogUs, options);
    } catch (failure) {
      warn(`systemd cannot be notified: ${socketVariable}: ${(failure as Error).message}`);
      return null;
    }
  }

  tell(state: ServiceState): void {
    this.#say(this.#words(state));
  }

  /**
   * Sends the sign of life for WatchdogSec=, in each half of its time, as long as `soundness`
   * resolves. If it does not, systemd kills the service and starts it again.
   */
  async watch(soundness: () => Promise<void>): Promise<void> {
    if (this.#watchdogUs === null) return;
    while (!this.#isOver) {
      await soundness();
      this.#say("WATCHDOG=1");
      await Bun.sleep(this.#watchdogUs / 2 / 1000);
    }
  }

  /** Ends the watch. Resolves when all notifications are sent or given up. */
  async close(): Promise<void> {
    this.#isOver = true;
    await this.#lastSent;
    this.#socket[Symbol.dispose]();
  }

  #words(state: ServiceState): string {
    const { readyStatus, stopMs } = this.#options;
    switch (state) {
      case "ready":
        return `READY=1\nSTATUS=${readyStatus}`;
      case "reloading":
        return `RELOADING=1\nMONOTONIC_USEC=${monotonicUs()}\nSTATUS=Replacing the task workers`;
      case "stopping":
        return `STOPPING=1\nEXTEND_TIMEOUT_USEC=${stopMs * 1000}\nSTATUS=Stopping`;
    }
  }

  #say(words: string): void {
    this.#lastSent = this.#lastSent.then(() => this.#send(words));
  }

  /** Retries, since systemd may be busy with the start of the machine. */
  async #send(words: string): Promise<void> {
    for (let tries = 1; !this.#socket.send(words); tries++) {
      if (tries === notifyTriesMax) return warn(`systemd could not be told ${words.split("\n")[0]}`);
      await Bun.sleep(notifyRetryMs);
    }
  }
}

const watchdogOf = (environment: Record<string, string | undefined>): number | null => {
  const pid = environment[watchdogPidVariable];
  const isMeant = pid === undefined || pid === String(process.pid);
  const us = Number(environment[watchdogVariable]);
  return isMeant && Number.isSafeInteger(us) && us > 0 ? us : null;
};

/* ── Datagrams and the clock, for which Bun has no API ── */

const monotonicClock = 1; // CLOCK_MONOTONIC, clock_gettime(2)
const unixFamily = 1; // AF_UNIX
const datagramCloseOnExec = 2 | 0o2000000; // SOCK_DGRAM | SOCK_CLOEXEC
const neverWaitNorSignal = 0x40 | 0x4000; // MSG_DONTWAIT | MSG_NOSIGNAL
const pathBytesMax = 107; // of sun_path's 108 in unix(7), without the NUL at the end

class DatagramSocket implements Disposable {
  readonly #address: Buffer;
  readonly #descriptor: number;

  /**
   * Throws Error.
   * @param address of the receiver: an absolute path, or `@` and a name of the abstract namespace
   */
  constructor(address: string) {
    this.#address = socketAddress(address);
    this.#descriptor = libc.socket(unixFamily, datagramCloseOnExec, 0);
    if (this.#descriptor < 0) throw new Error("the system has no socket to give");
  }

  /** Returns false if the receiver has no room at present, or is not there. */
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

/** µs of CLOCK_MONOTONIC, by which systemd compares; Bun's clocks begin with the process. */
const monotonicUs = (): bigint => {
  const time = new BigInt64Array(2); // struct timespec: seconds and nanoseconds
  libc.clock_gettime(monotonicClock, time);
  const [seconds = 0n, nanoseconds = 0n] = time;
  return seconds * 1_000_000n + nanoseconds / 1_000n;
};

/** `struct sockaddr_un` of unix(7): the family, then PATH NUL, or NUL NAME if it is abstract. */
const socketAddress = (address: string): Buffer => {
  const isAbstract = address.startsWith("@");
  if (!isAbstract && !address.startsWith("/")) throw new Error(`${address} is neither an absolute path nor @NAME`);
  const path = isAbstract ? Buffer.from(`\0${address.slice(1)}`) : cString(address);
  if (path.length > pathBytesMax + 1) throw new Error(`${address} is longer than a socket's path can be`);
  const family = Buffer.alloc(2);
  family.writeUInt16LE(unixFamily); // in the order of the machine, which on x64 and arm64 is this one
  return Buffer.concat([family, path]);
};
