/** Keys for a test: an engine's, and those of whoever wants in. */

import type { KeyPair } from "../../src/security/certificate.ts";
import type { Security } from "../../src/security/gate.ts";
import { makeKeyPair } from "../../src/security/keys.ts";

export interface TestKeys {
  readonly engine: KeyPair;
  /** Is let in by the text of `security`. */
  readonly laptop: KeyPair;
  readonly security: Security;
}

export const makeKeys = (rights = "send read write control worker"): TestKeys => {
  const [engine, laptop] = [makeKeyPair(), makeKeyPair()];
  const authorized = `# who may what\n${laptop.publicKey} laptop ${rights}\n`;
  return { engine, laptop, security: { engine, authorized } };
};
