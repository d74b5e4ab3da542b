/** The socket options that CURVE keys make: which side of a connection proves what. Source: zmq_curve(7). */

import type { SocketOptions } from "../transport/zmq/options.ts";
import type { KeyPair } from "./certificate.ts";

/**
 * The domain that the ZAP handler is asked in. That it is not empty, and must be answered for, is what keeps everybody out
 * where there is no handler: libzmq would else let every client in that knows the server's key.
 */
export const zapDomain = "task-engine";

/** Options of a socket that binds: only CURVE clients, and of them those that the ZAP handler lets in. */
export const curveServer = ({ secretKey }: Pick<KeyPair, "secretKey">): SocketOptions => ({
  curveServer: true,
  curveSecretKey: secretKey,
  zapDomain,
  zapEnforceDomain: true,
});

/** Options of a socket that connects, to the one server that has `serverKey`, as whoever has `pair`. */
export const curveClient = (serverKey: string, { publicKey, secretKey }: KeyPair): SocketOptions => ({
  curveServerKey: serverKey,
  curvePublicKey: publicKey,
  curveSecretKey: secretKey,
});
