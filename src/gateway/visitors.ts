/**
 * The person of a request: by a bearer token or its cookie, or anybody where no token is needed.
 */
import { gatewayFailedTokenMs, gatewayFailedTokensMax } from "../limits.ts";
import { HttpError } from "./errors.ts";
import { anybody, type Person, type Tokens } from "./tokens.ts";

export class Visitors {
  readonly #cookie: string;
  /** Failed tokens whose answers wait. */
  #failed = 0;

  /**
   * @param port two gateways of one machine have cookies of different names, since cookies know no
   * ports
   */
  constructor(
    private readonly tokens: Tokens | null,
    port: number,
    private readonly isTls: boolean,
  ) {
    this.#cookie = `task-engine-${port}`;
  }

  get needsToken(): boolean {
    return this.tokens !== null;
  }

  /** Null without a token; undefined for one that is not valid. */
  personOf(request: Request): Person | null | undefined {
    if (this.tokens === null) return anybody;
    const token = this.#tokenOf(request);
    return token === null ? null : (this.tokens.personOf(token) ?? undefined);
  }

  /** The answer to a token that is not valid: it is late. Rejects with HttpError, NO_TOKEN. */
  async refuse(): Promise<never> {
    await this.#slowDown();
    throw new HttpError("NO_TOKEN", "the token is not valid", challenge);
  }

  /** The person with a token that somebody has typed: null, late, for one that is not valid. */
  async login(token: string): Promise<Person | null> {
    const person = this.tokens?.personOf(token) ?? null;
    if (person === null) await this.#slowDown();
    return person;
  }

  isStill(person: Person): boolean {
    return this.tokens === null || this.tokens.isStill(person);
  }

  /** `Set-Cookie` for a token; null takes the cookie away. */
  cookieOf(token: string | null): string {
    const age = token === null ? 0 : cookieSeconds;
    const secure = this.isTls ? "; Secure" : "";
    return `${this.#cookie}=${token ?? ""}; HttpOnly; SameSite=Strict; Path=/; Max-Age=${age}${secure}`;
  }

  #tokenOf({ headers }: Request): string | null {
    const authorization = headers.get("authorization");
    if (authorization !== null) return /^Bearer +(\S+)$/i.exec(authorization)?.[1] ?? "";
    for (const pair of headers.get("cookie")?.split(";") ?? []) {
      const [name, value] = pair.split("=");
      if (name?.trim() === this.#cookie) return value?.trim() ?? "";
    }
    return null;
  }

  /**
   * Delays the answer to a wrong token, and no other. Too many at once are refused without a look.
   */
  async #slowDown(): Promise<void> {
    if (this.#failed >= gatewayFailedTokensMax) throw new HttpError("QUEUE_FULL", "too many tokens were not valid");
    this.#failed++;
    await Bun.sleep(gatewayFailedTokenMs);
    this.#failed--;
  }
}

export const challenge = { "WWW-Authenticate": 'Bearer realm="task-engine"' } as const;

const cookieSeconds = 30 * 24 * 3600;
