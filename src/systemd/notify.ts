/**
 * What systemd is told about the engine (Type=notify), by the supervisor alone: that it is ready, reloads, stops, and that it
 * is still sound. Source: sd_notify(3), sd_watchdog_enabled(3), systemd.service(5).
 */
import { notifyRetryMs, notifyTriesMax } from "../limits.ts";
import { warn } from "../process/log.ts";
import type { ServiceState } from "../process/messages.ts";
import { DatagramSocket, monotonicUs } from "./libc.ts";

export interface NotifierOptions {
  /** What `systemctl status` shows while the engine serves. */
  readonly readyStatus: string;
  /** ms that the engine may take to stop: systemd waits as long, whatever its unit says. */
  readonly stopMs: number;
}

/** Set by systemd for the main process of a service. */
const socketVariable = "NOTIFY_SOCKET";
const watchdogVariable = "WATCHDOG_USEC";
const watchdogPidVariable = "WATCHDOG_PID";

export class Notifier {
  /** µs between two signs of life that systemd takes for one too few; null if it does not ask for any. */
  readonly #watchdogUs: number | null;
  readonly #socket: DatagramSocket;
  readonly #options: NotifierOptions;
  /** What was said goes out in the order in which it was said. */
  #lastSent: Promise<void> = Promise.resolve();
  #isOver = false;

  private constructor(socket: DatagramSocket, watchdogUs: number | null, options: NotifierOptions) {
    this.#socket = socket;
    this.#watchdogUs = watchdogUs;
    this.#options = options;
  }

  /**
   * The line to systemd that the environment names, or null if systemd has not started this process, or does not want to
   * hear of it. Takes the variables out of the environment: the line is this process's alone.
   */
  static take(environment: Record<string, string | undefined>, options: NotifierOptions): Notifier | null {
    const address = environment[socketVariable];
    const watchdogUs = watchdogOf(environment);
    for (const name of [socketVariable, watchdogVariable, watchdogPidVariable]) delete environment[name];
    if (address === undefined || address === "") return null;
    try {
      return new Notifier(new DatagramSocket(address), watchdogUs, options);
    } catch (failure) {
      warn(`systemd will not hear of this engine: ${socketVariable}: ${(failure as Error).message}`);
      return null;
    }
  }

  tell(state: ServiceState): void {
    this.#say(this.#words(state));
  }

  /**
   * Sends the sign of life that WatchdogSec= asks for, each half of its time, for as long as `soundness` resolves: one that
   * does not makes systemd kill the service and start it again.
   */
  async watch(soundness: () => Promise<void>): Promise<void> {
    if (this.#watchdogUs === null) return;
    while (!this.#isOver) {
      await soundness();
      this.#say("WATCHDOG=1");
      await Bun.sleep(this.#watchdogUs / 2 / 1000);
    }
  }

  /** Ends the watch; resolves when all that was said is out, or given up. */
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

  /** systemd that is busy with starting everything else may have no room for it at the first try. */
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
