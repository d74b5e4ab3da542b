/**
 * The ZAP handler, which libzmq asks about each connection before its first message. Source:
 * https://rfc.zeromq.org/spec/27. Without an answer no connection is accepted (`zapEnforceDomain`):
 * while a task blocks the thread of a worker, new connections to its port wait.
 */

import { Router } from "../transport/zmq/socket.ts";
import { zapDomain } from "./curve.ts";
import { keyText } from "./keys.ts";

const endpoint = "inproc://zeromq.zap.01";

/** Returns the id of messages by a public key (`Socket.lastPeer`); null refuses it. */
type Authenticate = (publicKey: string) => string | null;

/**
 * Starts the handler of this process, before its sockets bind. It refuses connections without CURVE
 * and of other domains.
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

/** @param frames domain, address, routing id, mechanism; with CURVE the client's public key */
const userOf = (frames: readonly Uint8Array[], authenticate: Authenticate): string | null => {
  const [domain = noBytes, , , mechanism = noBytes, credential = noBytes] = frames;
  if (frames.length !== 5 || text(domain) !== zapDomain || text(mechanism) !== "CURVE") return null;
  const key = keyText(credential);
  return key === null ? null : authenticate(key);
};

const text = (frame: Uint8Array): string => Buffer.from(frame).toString();
const noBytes = new Uint8Array(0);
