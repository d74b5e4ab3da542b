/** The user that listens at a TCP port of this machine. */
import { fs } from "../fs.ts";

const listening = "0A"; // TCP_LISTEN, as /proc/net/tcp has it, proc(5)
const anyAddress = "00000000";

/**
 * Returns the user id of the port's listener; null if unknown.
 * @param host an IPv4 address
 * @param isOwn it is known to be one of this machine, so a listener on all addresses will do
 */
export const portOwner = (host: string, port: number, isOwn = true): number | null => {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const addresses = isOwn ? [hexOf(host), anyAddress] : [hexOf(host)];
  const places = addresses.map((address) => `${address}${suffix}`);
  for (const line of linesOf("/proc/net/tcp")) {
    const [, place = "", , state, , , , uid] = line.trim().split(/\s+/);
    if (state === listening && places.includes(place)) return Number(uid);
  }
  return null;
};

const linesOf = (path: string): string[] => {
  try {
    return fs().readFileSync(path, "latin1").split("\n");
  } catch {
    return [];
  }
};

/** The kernel's format in /proc/net/tcp: the four bytes as a little-endian number. */
const hexOf = (host: string): string =>
  host
    .split(".")
    .toReversed()
    .map((part) => Number(part).toString(16).toUpperCase().padStart(2, "0"))
    .join("");
