/** The line for a person if an address cannot be bound. */
import { errno, ZmqError } from "./library.ts";

/**
 * Returns one line: failure, reason and remedy.
 * @param what `the router's frontend`
 * @param address `HOST:PORT`
 */
export const describeBindError = (error: unknown, what: string, address: string): string => {
  // The Unix socket beside the port. Its system message contains the NUL of its name.
  if (isSystemError(error)) {
    const why = error.code === "EADDRINUSE" ? "is taken" : `cannot be had (${error.code})`;
    const remedy = "stop what uses it (`ss -xlp` says who does) or choose another port";
    return `${what} cannot use ${address}: the Unix socket of that name ${why}; ${remedy}`;
  }
  if (!(error instanceof ZmqError)) throw error;
  switch (error.code) {
    case errno.EADDRINUSE:
      return (
        `${what} cannot use ${address}: the port is taken; ` +
        "stop what uses it (an engine that runs already?) or choose another"
      );
    case errno.EACCES:
      return `${what} cannot use ${address}: permission denied; ports below 1024 are for root`;
    case errno.EADDRNOTAVAIL:
    case errno.ENODEV:
      return `${what} cannot use ${address}: this machine has no such address`;
    default:
      return `${what} cannot use ${address}: ${error.message}`;
  }
};

const isSystemError = (error: unknown): error is Error & { readonly code: string } =>
  error instanceof Error && "code" in error && typeof error.code === "string";
