/**
 * The ZAP handler: libzmq asks it about every connection before the first message of that passes.
 * Source: https://rfc.zeromq.org/spec/27. Where it is missing or does not answer, nobody comes in (`zapEnforceDomain`):
 * in a worker whose task blocks its thread, who connects to the worker's own port waits, as his task would.
 */

import { Router } from "../transport/zmq/socket.ts";
import { zapDomain } from "./curve.ts";
import { keyText } from "./keys.ts";

const endpoint = "inproc://zeromq.zap.01";

/** Says for a public key, in Z85, which id its messages are to carry (`Socket.lastPeer`); null for one that stays out. */
export type Authenticate = (publicKey: string) => string | null;

/**
 * Starts the handler; there is one a process, for all its sockets, and it must be there before they bind. Whoever does not
 * come with CURVE, or asks in another domain, stays out.
 */
export const startZap = (authenticate: Authenticate): Disposable => {
  const socket = new Router({ linger: 0 });
  socket.bind(endpoint);
  socket.onReadable(() => {
    for (let request = socket.tryReceive(); request !== null; request = socket.tryReceive()) {
      answer(socket, request, authenticate);
    }
  });
  return {
    [Symbol.dispose]: () => {
      socket.unbind(endpoint);
      socket.close();
    },
  };
};

const answer = (socket: Router, frames: readonly Uint8Array[], authenticate: Authenticate): void => {
  const [peer = noBytes, delimiter = noBytes, version = noBytes, request = noBytes, ...rest] = frames;
  const user = userOf(rest, authenticate);
  const verdict = user === null ? ["400", "not authorized", ""] : ["200", "OK", user];
  socket.trySend([peer, delimiter, version, request, ...verdict, ""]);
};

/** The frames after the request's id: domain, address, routing id, mechanism, and with CURVE the client's public key. */
const userOf = (frames: readonly Uint8Array[], authenticate: Authenticate): string | null => {
  const [domain = noBytes, , , mechanism = noBytes, credential = noBytes] = frames;
  if (frames.length !== 5 || text(domain) !== zapDomain || text(mechanism) !== "CURVE") return null;
  const key = keyText(credential);
  return key === null ? null : authenticate(key);
};

const text = (frame: Uint8Array): string => Buffer.from(frame).toString();
const noBytes = new Uint8Array(0);
