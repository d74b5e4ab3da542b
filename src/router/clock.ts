/**
 * Whether the wall clock of this machine is synchronised: a Pi without a battery boots with the
 * time at which it was last switched off, until it has reached a time server.
 */
import { existsSync } from "node:fs";
import { libc } from "../transport/libc.ts";

/** bytes of `struct timex`, adjtimex(2), and what it returns for a clock without a time server. */
const timexBytes = 208;
const timeError = 5;
/** systemd-timesyncd makes it at its first synchronisation. */
const timesyncMark = "/run/systemd/timesync/synchronized";

/**
 * Asks the kernel, and where it does not say (a container, a unit with `ProtectClock=`),
 * systemd-timesyncd. Of a clock that no
 * time server sets, such as one with a battery and no network, the answer is false.
 */
export const isClockSynchronised = (): boolean => {
  // An empty request only reads.
  const state = libc.adjtimex(new Uint8Array(new ArrayBuffer(timexBytes)));
  return (state >= 0 && state !== timeError) || existsSync(timesyncMark);
};
