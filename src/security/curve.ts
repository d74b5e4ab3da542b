/** Socket options for CURVE: zmq_curve(7). Not in keys.ts, which loads libzmq. */

import type { SocketOptions } from "../transport/zmq/options.ts";
import type { KeyPair } from "./certificate.ts";

/**
 * The domain of requests to the ZAP handler. It must not be empty: then libzmq would let every
 * client with the server's key in while there is no handler.
 */
export const zapDomain = "task-engine";

/** Options of a socket that binds, for CURVE clients that the ZAP handler lets in. */
export const curveServer = ({ secretKey }: Pick<KeyPair, "secretKey">): SocketOptions => ({
  curveServer: true,
  curveSecretKey: secretKey,
  zapDomain,
  zapEnforceDomain: true,
});

/** Options of a socket that connects with its key pair, only to the server with `serverKey`. */
export const curveClient = (serverKey: string, { publicKey, secretKey }: KeyPair): SocketOptions => ({
  curveServerKey: serverKey,
  curvePublicKey: publicKey,
  curveSecretKey: secretKey,
});
