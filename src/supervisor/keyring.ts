/**
 * The engine's keys and the file of authorized clients, as the supervisor reads them and hands them to its children. Whatever
 * is wrong with that file, a person is told, and nobody is let in but the engine's own workers.
 */

import { authorizedTextLengthMax } from "../limits.ts";
import { warn } from "../process/log.ts";
import { Access } from "../security/access.ts";
import { CertificateError, type KeyPair, readKeyPair, readOwn } from "../security/certificate.ts";
import type { Security } from "../security/gate.ts";

export class Keyring {
  readonly #engine: KeyPair;
  readonly #path: string;
  #authorized: string;
  /** What was wrong with the file when it was read last, in one line. */
  trouble: string | null = null;

  /**
   * Throws CertificateError where the engine's own key cannot be used.
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

  /** Reads the file of authorized clients again, and gives its text. */
  readAgain(): string {
    this.#authorized = this.#read();
    return this.#authorized;
  }

  #read(): string {
    try {
      const text = readOwn(this.#path, "public", authorizedTextLengthMax);
      const access = Access.parse(text);
      this.trouble = null;
      if (access instanceof Access) return text;
      this.trouble = `Nobody is let in: ${this.#path}, ${access}; mend it, then task-engine reload`;
    } catch (error) {
      if (!(error instanceof CertificateError)) throw error;
      this.trouble = `Nobody is let in: ${error.message}; mend it, then task-engine reload`;
    }
    warn(this.trouble);
    return "";
  }
}
