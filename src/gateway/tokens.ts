/**
 * The file of tokens: the persons who may use the gateway, and their rights. It has the form of the
 * file of authorized clients, with the SHA-256 of a token in Z85 in the place of a key; so a thief
 * of the file has no token. It is read again when it has changed.
 */
import { statSync } from "node:fs";
import { authorizedTextLengthMax, gatewayTokenLookMs, onBehalfLengthMax } from "../limits.ts";
import type { OnBehalf } from "../protocol/frames.ts";
import { Access } from "../security/access.ts";
import { CertificateError, readOwn } from "../security/certificate.ts";

/** The sender of a request: the owner of a token, or anybody at an engine without keys. */
export interface Person {
  readonly name: string;
  /** For the engine; null where it has no keys, and everybody has all rights. */
  readonly onBehalf: OnBehalf | null;
  /** Null as `onBehalf`. */
  readonly user: string | null;
  readonly access: Access;
}

/** The sender of every request to an engine without keys. */
export const anybody: Person = { name: "", onBehalf: null, user: null, access: Access.nobody };

/** The SHA-256 of a token, in Z85 (https://rfc.zeromq.org/spec/32). */
export const digestOf = (token: string): string => z85(new Bun.CryptoHasher("sha256").update(token).digest());

/** A new token, of 32 random bytes. */
export const newToken = (): string => {
  const bytes = crypto.getRandomValues(new Uint8Array(32));
  return `te_${Buffer.from(bytes).toString("base64url")}`;
};

/** Returns one line that says which line of the text is wrong, and why, if it cannot be used. */
export const personsIn = (text: string): ReadonlyMap<string, Person> | string => {
  const access = Access.parse(text);
  if (typeof access === "string") return access.replace("public key", "SHA-256 of a token");
  const persons = new Map<string, Person>();
  for (const line of text.split(/\r?\n/)) {
    const [digest = "", name = "", ...rights] = line.trim().split(/[ \t]+/);
    if (access.nameOf(digest) !== name) continue;
    if (JSON.stringify(rights).length > onBehalfLengthMax) {
      return `the rights of ${name} have more than ${onBehalfLengthMax} characters`;
    }
    persons.set(digest, { name, onBehalf: { name, rights }, user: name, access });
  }
  return persons;
};

export class Tokens {
  #persons: ReadonlyMap<string, Person> = new Map();
  #lookedAtMs = Number.NEGATIVE_INFINITY;
  #stamp = "";

  /** Throws CertificateError with path and remedy. @param warn writes a line to the log */
  constructor(
    private readonly path: string,
    private readonly warn: (line: string) => void,
  ) {
    this.#persons = this.#read();
    this.#stamp = this.#stampNow();
    this.#lookedAtMs = performance.now();
  }

  /** The person with this token; null for none. */
  personOf(token: string): Person | null {
    this.#look();
    return this.#persons.get(digestOf(token)) ?? null;
  }

  /** Returns true if a person that was found earlier still has the same token and rights. */
  isStill(person: Person): boolean {
    this.#look();
    return [...this.#persons.values()].includes(person);
  }

  /** A file that has changed to one that cannot be used admits nobody. */
  #look(): void {
    const now = performance.now();
    if (now - this.#lookedAtMs < gatewayTokenLookMs) return;
    this.#lookedAtMs = now;
    const stamp = this.#stampNow();
    if (stamp === this.#stamp) return;
    this.#stamp = stamp;
    try {
      this.#persons = this.#read();
    } catch (error) {
      if (!(error instanceof CertificateError)) throw error;
      this.#persons = new Map();
      this.warn(`No token is valid: ${error.message}`);
    }
  }

  #read(): ReadonlyMap<string, Person> {
    const persons = personsIn(readOwn(this.path, "secret", authorizedTextLengthMax));
    if (typeof persons === "string") throw new CertificateError(`${this.path}: ${persons}`);
    return persons;
  }

  #stampNow(): string {
    const { mtimeMs, ctimeMs, size, ino } = statSync(this.path, { throwIfNoEntry: false }) ?? {};
    return [mtimeMs, ctimeMs, size, ino].join(" ");
  }
}

const digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

const z85 = (bytes: Buffer): string => {
  let text = "";
  for (let at = 0; at < bytes.length; at += 4) {
    let value = bytes.readUInt32BE(at);
    let word = "";
    for (let index = 0; index < 5; index++) {
      word = digits.charAt(value % 85) + word;
      value = Math.floor(value / 85);
    }
    text += word;
  }
  return text;
};
