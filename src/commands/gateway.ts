/**
 * `gateway` serves an engine over HTTP: API, metrics and the page, see gateway/GATEWAY.md. It is a
 * client of the engine, on whatever machine, and waits for an engine that is not there. `serve
 * --http` starts it as one more process.
 *
 * Prints one line with its address. Ends by Ctrl-C or SIGTERM. Exits with 0 then; 1 if it cannot
 * start; 2 for wrong usage.
 */
import { writeFileSync } from "node:fs";
import { connect } from "../client/client.ts";
import { noKeys, ownerKey } from "../client/keys.ts";
import type { GatewayOptions } from "../gateway/gateway.ts";
import type { Tokens } from "../gateway/tokens.ts";
import { requestTimeoutMs } from "../limits.ts";
import { say, warn } from "../process/log.ts";
import { hasSupervisor, onLeaveRequest, tellSupervisor } from "../process/supervised.ts";
import { CertificateError, readOwn } from "../security/certificate.ts";
import { gatewayMistake, httpAddress } from "../security/exposure.ts";
import { stopBySocket } from "../supervisor/stop-socket.ts";
import { isThere } from "../transport/libc.ts";
import { StartError } from "../transport/start-error.ts";
import { listOf } from "./args.ts";
import { defineCommand, UsageError } from "./command.ts";
import { keyArgs, keysFrom, usageErrorFrom } from "./engine.ts";
import { type EngineLocation, locateEngine, locationArgs, stateFlag, stopSocketPaths } from "./locate.ts";
import { runRole } from "./roles.ts";

const file = { type: "string", valueHint: "file" } as const;

export const gatewayCommand = defineCommand({
  meta: { name: "gateway", description: "Serve an engine over HTTP: API, metrics and a page" },
  args: {
    http: {
      type: "string",
      required: true,
      valueHint: "[address:]port",
      description: "Where to listen (default address: 127.0.0.1)",
    },
    tokens: { ...file, description: "File of tokens: who may do what (none for an engine without keys)" },
    "tls-cert": { ...file, description: "Certificate, PEM: HTTPS" },
    "tls-key": { ...file, description: "Its secret key, PEM" },
    "host-name": { type: "string", valueHint: "name...", description: "A name of this machine; may be given again" },
    insecure: { type: "boolean", description: "HTTP without TLS where others reach it" },
    state: stateFlag,
    ...locationArgs,
    ...keyArgs,
  },
  run: async ({ args }) => {
    const {
      http,
      tokens: tokensPath = null,
      "tls-cert": cert = null,
      "tls-key": key = null,
      state,
      insecure = false,
    } = args;
    const address = httpAddress(http);
    if (address === null)
      throw new UsageError(`--http is ${JSON.stringify(http)}, which is not of the form [ADDRESS:]PORT`);
    const mistake = gatewayMistake({ ...address, tokens: tokensPath, cert, key, insecure });
    if (mistake !== null) throw new UsageError(mistake);
    const location = await locateEngine(args);
    const stateFolder = state ?? location.state;
    const keys = keysFrom(args);
    if (tokensPath === null && (keys.key ?? noKeys) !== noKeys) {
      throw new UsageError("--key is for an engine with keys, which needs --tokens, too");
    }
    if (hasSupervisor()) giveWay();
    await runRole(async () => {
      const { Gateway } = await import("../gateway/gateway.ts");
      const readFiles = await fileReader();
      const open = () => {
        const client = usageErrorFrom(() =>
          connect(location.endpoint, {
            // Without tokens it is nobody, whom an engine with keys does not let in.
            ...(tokensPath === null ? { key: noKeys } : hasSupervisor() ? { key: ownerKey } : keys),
            ...(stateFolder !== null && { state: stateFolder }),
            waitMs: requestTimeoutMs,
          }),
        );
        const options: GatewayOptions = {
          client,
          ...address,
          ...readFiles({ tokens: tokensPath, cert, key }),
          hostNames: [hostName(), `${hostName()}.local`, ...listOf(args, "host-name")],
          stopBySocket: stopWayOf(location, state),
          warn: (line) => warn(`[GATEWAY] ${line}`),
        };
        return { gateway: new Gateway(options), client };
      };
      const { gateway, client } = started(open, http);
      return async () => {
        const { promise: left, resolve: leave } = Promise.withResolvers<void>();
        onLeaveRequest(leave);
        if (!hasSupervisor()) process.once("SIGINT", () => leave());
        tellSupervisor({ type: "online" });
        say(`[GATEWAY] ${gateway.url} serves the engine at ${location.endpoint}`);
        await left;
        await gateway.close();
        await client.close();
        if (!hasSupervisor()) process.exit(0);
      };
    });
  },
});

const niceness = 10;
const autogroup = "/proc/self/autogroup";

/**
 * The robot's own processes go first, however many browsers there are. With autogroups nice counts
 * only within a session, which each process of the engine has to itself: sched(7).
 */
const giveWay = (): void => {
  try {
    process.getBuiltinModule("node:os").setPriority(niceness);
    if (isThere(autogroup)) writeFileSync(autogroup, `${niceness}`);
  } catch (failure) {
    warn(`[GATEWAY] It has the priority of the engine's own processes: ${(failure as Error).message}`);
  }
};

const pemBytesMax = 64 * 1024;

const hostName = (): string => process.getBuiltinModule("node:os").hostname().toLowerCase();

interface GatewayFiles {
  readonly tokens: string | null;
  readonly cert: string | null;
  readonly key: string | null;
}

/** Gives what reads the files, and throws CertificateError or StartError. */
const fileReader = async () => {
  const { Tokens } = await import("../gateway/tokens.ts");
  return ({ tokens, cert, key }: GatewayFiles): { tokens: Tokens | null; tls: GatewayOptions["tls"] } => ({
    tokens: tokens === null ? null : new Tokens(tokens, (line) => warn(`[GATEWAY] ${line}`)),
    tls:
      cert === null || key === null
        ? null
        : {
            cert: readOwn(cert, "public", pemBytesMax),
            key: readOwn(key, "secret", pemBytesMax),
          },
  });
};

/**
 * For whoever starts the gateway as a further process, and wants to know before that it can.
 * Rejects with StartError for a port that is in use, and for files that cannot be used.
 */
export const tryGateway = async (http: string, files: GatewayFiles): Promise<void> => {
  const at = httpAddress(http);
  if (at === null) return;
  const readFiles = await fileReader();
  const open = () => {
    const { tls } = readFiles(files);
    return Bun.serve({
      hostname: at.address,
      port: at.port,
      ...(tls !== null && { tls }),
      fetch: () => new Response(),
    });
  };
  await started(open, http).stop(true);
};

/** Throws StartError for what cannot be read or had. */
const started = <Result>(open: () => Result, http: string): Result => {
  try {
    return open();
  } catch (failure) {
    if (failure instanceof CertificateError) throw new StartError(failure.message);
    const { code = "", message } = failure as NodeJS.ErrnoException;
    if (code === "EADDRINUSE")
      throw new StartError(`${http} is in use by another program; name another port by --http`);
    if (code === "EACCES" || code === "EADDRNOTAVAIL") throw new StartError(`it cannot listen at ${http}: ${message}`);
    // These are of the TLS library: the files are no PEM, or do not belong together.
    if (/^ERR_(OSSL|BORINGSSL|SSL)/.test(code)) {
      throw new StartError(`the files of --tls-cert and --tls-key are no certificate and its key: ${message}`);
    }
    throw failure;
  }
};

/** Past a router that hangs, where the engine is on this machine. */
export const stopWayOf = (location: EngineLocation, state: string | undefined): GatewayOptions["stopBySocket"] => {
  if (stopSocketPaths(location, state).length === 0) return null;
  return (reason) => {
    const timeout = AbortSignal.timeout(requestTimeoutMs);
    return Promise.any(stopSocketPaths(location, state).map((path) => stopBySocket(path, reason, timeout)));
  };
};
