/**
 * The keys of a client: the given ones, else those of the environment, else those of
 * `~/.config/task-engine` if both exist; else none, for an engine without keys.
 */

import { TaskEngineError } from "../protocol/errors.ts";
import {
  CertificateError,
  keysFolder,
  publicFile,
  readKeyPair,
  readPublicKey,
  secretFile,
} from "../security/certificate.ts";
import { curveClient } from "../security/curve.ts";
import { noHome } from "../security/files.ts";
import { isThere } from "../transport/libc.ts";
import type { SocketOptions } from "../transport/zmq/options.ts";

export const serverKeyVariable = "TASK_ENGINE_SERVER_KEY";
export const keyVariable = "TASK_ENGINE_KEY";

/** In the place of a path: no keys, even if the environment or the folder has some. */
export const noKeys = "none";

/** In the place of a path: as the owner of an engine on this machine, whatever keys there are. */
export const ownerKey = "owner";

/**
 * Paths of the engine's `NAME.key` and of the client's own `NAME.key_secret`, or `none`, or
 * `owner`.
 */
export interface KeyFiles {
  readonly serverKey?: string | undefined;
  readonly key?: string | undefined;
}

export interface ClientKeys {
  /** Options of each socket that connects to the engine. */
  readonly options: SocketOptions;
  /** A question for a person who gets no answer of the engine. */
  readonly ifSilent: string;
  /**
   * The engine's public key and the client's, for the socket of the engine's owner; empty if there
   * are none. Null if the client was told to use none: then it is nobody, and not the owner.
   */
  readonly publicKeys: readonly string[] | null;
}

const withoutKeys = (publicKeys: readonly string[] | null): ClientKeys => ({
  options: {},
  ifSilent: "is the engine running, and without keys?",
  publicKeys,
});

/**
 * Reads the files. Throws TaskEngineError, BAD_ARGS, for an invalid file, or if only one of the two
 * is named.
 */
export const readClientKeys = (files: KeyFiles): ClientKeys => {
  const folder = keysFolder();
  const defaults =
    folder === null ? {} : { serverKey: publicFile(folder, "engine"), key: secretFile(folder, "client") };
  const named = {
    serverKey: files.serverKey ?? (process.env[serverKeyVariable] || undefined),
    key: files.key ?? (process.env[keyVariable] || undefined),
  };
  if (named.serverKey === noKeys || named.key === noKeys) return withoutKeys(null);
  if (named.key === ownerKey) return withoutKeys([]);
  const isNamed = named.serverKey !== undefined || named.key !== undefined;
  const areThere = Object.values(defaults).every(isThere) && folder !== null;
  if (!isNamed && !areThere) return withoutKeys([]);
  const { serverKey = defaults.serverKey, key = defaults.key } = named;
  if (serverKey === undefined || key === undefined) {
    const missing = key === undefined ? `--key (${keyVariable})` : `--server-key (${serverKeyVariable})`;
    throw new TaskEngineError("BAD_ARGS", `both keys are needed, and ${noHome()}; name the other by ${missing}`);
  }
  try {
    const [server, own] = [readPublicKey(serverKey), readKeyPair(key)];
    return {
      options: curveClient(server, own),
      ifSilent: `is the engine running, with the key in ${serverKey}, and is ${key} authorized?`,
      publicKeys: [server, own.publicKey],
    };
  } catch (error) {
    if (!(error instanceof CertificateError)) throw error;
    throw new TaskEngineError("BAD_ARGS", error.message);
  }
};
