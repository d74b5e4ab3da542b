/**
 * Connects to NATS, for a link and for a fleet's requestors. Its module is loaded here alone, and
 * when it is needed.
 */
import type { Authenticator, NatsConnection, NodeConnectionOptions } from "@nats-io/transport-node";
import { natsConnectMs, natsFileBytesMax, natsPingMs, natsRetryMs } from "../limits.ts";
import { TaskEngineError } from "../protocol/errors.ts";
import { CertificateError, readOwn } from "../security/certificate.ts";

/** Paths of the files by which NATS knows a program. */
export interface NatsFiles {
  /** Credentials, `nsc generate creds`: a JWT and its seed; or the seed of an nkey alone. */
  readonly creds?: string | undefined;
  /** Certificate of the authority that the server's certificate is checked by: TLS. */
  readonly ca?: string | undefined;
  /** Own certificate, and its key, for a server that asks for them. */
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}

const serverPattern = /^(?:nats|tls):\/\/(?:[\w.-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?$/i;

/** The servers of a list with commas. Throws TaskEngineError, BAD_ARGS. */
export const natsServers = (text: string): readonly string[] =>
  text.split(",").map((server) => {
    if (serverPattern.test(server)) return server;
    const shown = server.replace(/\/\/.*@/, "//…@");
    const hint = server.includes("@") ? "; a password belongs into a file of credentials" : "";
    throw new TaskEngineError("BAD_ARGS", `${JSON.stringify(shown)} is not of the form nats://HOST:PORT${hint}`);
  });

/** Throws TaskEngineError, BAD_ARGS, for files that cannot be used. */
const fileOptions = async (servers: readonly string[], files: NatsFiles): Promise<NodeConnectionOptions> => {
  const { creds, ca, cert, key } = files;
  if ((cert === undefined) !== (key === undefined)) {
    throw new TaskEngineError("BAD_ARGS", "a certificate and its key need each other");
  }
  const { credsAuthenticator, nkeyAuthenticator } = await import("@nats-io/transport-node");
  try {
    const secret = creds === undefined ? "" : readOwn(creds, "secret", natsFileBytesMax).trim();
    const authenticatorOf = /^SU[A-Z2-7]+$/.test(secret) ? nkeyAuthenticator : credsAuthenticator;
    const authenticator = authenticatorOf(new TextEncoder().encode(secret));
    if (creds !== undefined) checkCredentials(creds, authenticator);
    const isTls = [ca, cert].some((path) => path !== undefined) || servers.some((server) => /^tls:/i.test(server));
    return {
      ...(creds !== undefined && { authenticator }),
      ...(isTls && {
        tls: {
          ...(ca !== undefined && { ca: readOwn(ca, "public", natsFileBytesMax) }),
          ...(cert !== undefined && { cert: readOwn(cert, "public", natsFileBytesMax) }),
          ...(key !== undefined && { key: readOwn(key, "secret", natsFileBytesMax) }),
        },
      }),
    };
  } catch (error) {
    if (error instanceof CertificateError) throw new TaskEngineError("BAD_ARGS", error.message);
    throw error;
  }
};

/** Throws TaskEngineError, BAD_ARGS. NATS' client would see it only when the server asks. */
const checkCredentials = (path: string, authenticator: Authenticator): void => {
  try {
    authenticator("nonce");
  } catch {
    throw new TaskEngineError(
      "BAD_ARGS",
      `${path} has no credentials of NATS (a JWT and its seed), and no seed of an nkey`,
    );
  }
};

interface NatsOptions extends NatsFiles {
  /** As the server lists it. */
  readonly name: string;
  /** True: waits for a server that is not there. False: gives up after `natsConnectMs`. */
  readonly isPatient: boolean;
}

/**
 * Rejects with TaskEngineError: BAD_ARGS for what is given wrongly, NO_ANSWER where there is no
 * server, UNAUTHORIZED where it does not let this program in. A connection that is lost comes back
 * by itself; what was published while it was lost is not sent.
 * @param address servers of one fleet, with commas
 */
export const connectNats = async (address: string, options: NatsOptions): Promise<NatsConnection> => {
  const { name, isPatient, ...files } = options;
  const servers = natsServers(address);
  const given = await fileOptions(servers, files);
  const { AuthorizationError, connect } = await import("@nats-io/transport-node");
  try {
    return await connect({
      ...given,
      servers: servers.map((server) => server.replace(/^(nats|tls):\/\//i, "")),
      name,
      timeout: natsConnectMs,
      maxReconnectAttempts: -1,
      reconnectTimeWait: natsRetryMs,
      waitOnFirstConnect: isPatient,
      pingInterval: natsPingMs,
      ignoreAuthErrorAbort: isPatient,
      noAsyncTraces: true,
    });
  } catch (error) {
    const { message } = error as Error;
    if (error instanceof AuthorizationError) {
      throw new TaskEngineError("UNAUTHORIZED", `NATS at ${address} does not let this program in: ${message}`);
    }
    throw new TaskEngineError("NO_ANSWER", `there is no answer from NATS at ${address}: ${message}`);
  }
};
