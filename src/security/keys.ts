/** CURVE keys: 32 bytes, 40 characters of Z85 (RFC 32 of ZeroMQ). See zmq_curve_keypair(3). */

import { pinnedBytes } from "../transport/libc.ts";
import { lastError, zmq } from "../transport/zmq/library.ts";
import type { KeyPair } from "./certificate.ts";

const keyBytes = 32;
const keyLength = 40;

const textOf = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, keyLength).toString("latin1");

// One buffer for all calls: they run on one thread, and do not nest.
const publicText = pinnedBytes(keyLength + 1);
const secretText = pinnedBytes(keyLength + 1);

/** A new pair, from the system's random numbers. */
export const makeKeyPair = (): KeyPair => {
  if (zmq.zmq_curve_keypair(publicText, secretText) !== 0) throw lastError("cannot make a key pair");
  const pair = { publicKey: textOf(publicText), secretKey: textOf(secretText) };
  secretText.fill(0);
  return pair;
};

/** The public key that belongs to a secret one. Throws ZmqError for an invalid key. */
export const publicKeyOf = (secretKey: string): string => {
  const secret = Buffer.from(`${secretKey}\0`);
  if (secret.length !== keyLength + 1 || zmq.zmq_curve_public(publicText, secret) !== 0) {
    throw lastError("cannot derive a public key");
  }
  return textOf(publicText);
};

/** A key as Z85, from the 32 bytes on the wire; null for any other number of bytes. */
export const keyText = (bytes: Uint8Array): string | null => {
  if (bytes.length !== keyBytes) return null;
  zmq.zmq_z85_encode(publicText, bytes, bytes.length);
  return textOf(publicText);
};
