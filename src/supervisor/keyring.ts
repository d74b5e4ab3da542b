/** The engine's keys and authorized clients, read by the supervisor for its children. */

import { authorizedTextLengthMax } from "../limits.ts";
import { warn } from "../process/log.ts";
import { Access } from "../security/access.ts";
import { CertificateError, type KeyPair, readKeyPair, readOwn } from "../security/certificate.ts";
import type { Security } from "../security/gate.ts";

/** After a mistake in the authorized clients, nobody is let in but the engine's own workers. */
export class Keyring {
  readonly #engine: KeyPair;
  readonly #path: string;
  #authorized: string;
  /** The mistake in the file of authorized clients, in one line; null for none. */
  problem: string | null = null;

  /**
   * Throws CertificateError if the engine's own key cannot be used.
   * @param key path of the engine's `NAME.key_secret`
   * @param authorized path of the file of authorized clients
   */
  constructor(key: string, authorized: string) {
    this.#engine = readKeyPair(key);
    this.#path = authorized;
    this.#authorized = this.#read();
  }

  get security(): Security {
    return { engine: this.#engine, authorized: this.#authorized };
  }

  /** Reads the file of authorized clients again, and returns its text. */
  readAgain(): string {
    this.#authorized = this.#read();
    return this.#authorized;
  }

  #read(): string {
    try {
      const text = readOwn(this.#path, "public", authorizedTextLengthMax);
      const access = Access.parse(text);
      this.problem = null;
      if (access instanceof Access) return text;
      this.problem = `No client is authorized: ${this.#path}, ${access}; fix it, then task-engine reload`;
    } catch (error) {
      if (!(error instanceof CertificateError)) throw error;
      this.problem = `No client is authorized: ${error.message}; fix it, then task-engine reload`;
    }
    warn(this.problem);
    return "";
  }
}
