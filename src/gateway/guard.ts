/**
 * Requests that somebody else's page has caused. A browser sends them with the person's cookie, and
 * on an engine without keys they would need none.
 *
 * The page of another site says its origin in `Origin`, or `Sec-Fetch-Site`. By DNS rebinding such
 * a page can make its own name lead to this machine; then the name in `Host` is none of ours.
 */
import { isIP } from "node:net";
import { HttpError } from "./errors.ts";

export class Guard {
  readonly #names: ReadonlySet<string>;
  /** The last name that was ours: most requests have the same. */
  #last = "";

  /** @param names by which this machine may be called, beside its addresses and `localhost` */
  constructor(
    names: readonly string[],
    private readonly isTls: boolean,
  ) {
    this.#names = new Set(["localhost", ...names.map((name) => name.toLowerCase())]);
  }

  /** Throws HttpError, WRONG_ORIGIN. */
  check(request: Request): void {
    const host = request.headers.get("host");
    if (host === null || (host !== this.#last && !this.#isOurs(host))) {
      const name = JSON.stringify((host ?? "").slice(0, 128));
      const remedy = "call this machine by its address, or name it by --host-name";
      throw new HttpError("WRONG_ORIGIN", `Host is ${name}, which is no name of this machine; ${remedy}`);
    }
    this.#last = host;
    const origin = request.headers.get("origin");
    const site = request.headers.get("sec-fetch-site");
    const isForeign = origin === null ? site === "cross-site" || site === "same-site" : !this.#isSame(origin, host);
    if (isForeign) throw new HttpError("WRONG_ORIGIN", "the request comes from a page of another site");
  }

  /** An address cannot be rebound, since no page of another site has it as its origin. */
  #isOurs(host: string): boolean {
    const name = /^(\[[0-9a-f:.]+\]|[^:[\]/@?#\\\s]+)(?::\d{1,5})?$/i.exec(host)?.[1]?.toLowerCase();
    if (name === undefined) return false;
    return this.#names.has(name) || isIP(name.replace(/^\[|\]$/g, "")) !== 0;
  }

  #isSame(origin: string, host: string): boolean {
    return origin.toLowerCase() === `${this.isTls ? "https" : "http"}://${host}`.toLowerCase();
  }
}
