/** Checks of the settings that decide who can reach the engine. */

/** Returns true for IPv4 addresses that only this machine can reach. */
export const isLoopback = (host: string): boolean => host.startsWith("127.");

/** The module `node:net` has a function for it, and costs each process half a megabyte. */
const ipv4Pattern = /^(?:(?:25[0-5]|(?:2[0-4]|1\d|[1-9])?\d)(?:\.(?!$)|$)){4}$/;

/** Looks up a name once, since ZeroMQ binds only to addresses. */
export const resolveAddress = async (name: string, place: string, mistakes: string[]): Promise<string> => {
  if (ipv4Pattern.test(name)) return name;
  const found = await Bun.dns.lookup(name, { family: 4 }).catch(() => []);
  if (found[0] !== undefined) return found[0].address;
  mistakes.push(`${place}: ${JSON.stringify(name)} has no IPv4 address; give one of this machine's, such as 127.0.0.1`);
  return name;
};

interface Exposure {
  readonly host: string;
  readonly key: string | null;
  readonly authorized: string | null;
  readonly insecure: boolean;
}

/** Returns a line for each setting that opens the engine to all, or contradicts another. */
export const exposureMistakes = (
  { host, key, authorized, insecure }: Exposure,
  placeOf: (name: keyof Exposure) => string,
): string[] => {
  const mistakes: string[] = [];
  if (key === null && authorized !== null) {
    mistakes.push(
      `${placeOf("authorized")}: lists authorized clients, which needs an engine with keys; give --key too`,
    );
  }
  if (key !== null && insecure) {
    mistakes.push(
      `${placeOf("insecure")}: means an engine without keys, and ${placeOf("key")} gives one; leave one out`,
    );
  }
  if (key === null && !insecure && !isLoopback(host)) {
    mistakes.push(
      `${placeOf("host")}: ${host} can be reached from other machines, and without keys by everybody there; ` +
        "make keys by `task-engine keygen engine` and give --key, or take the risk by --insecure",
    );
  }
  return mistakes;
};

/** A data worker has a port for publishers and subscribers, and one for plain PUB sockets. */
export const dataPortsPerWorker = 2;

interface Ports {
  readonly port: number;
  readonly backendPort: number;
  readonly workerPort: number;
  readonly dataPort: number;
  readonly taskWorkers: number;
  readonly dataWorkers: number;
}

/** Returns a line for each port that two processes would have. */
export const portMistakes = (config: Ports, placeOf: (name: keyof Ports) => string): string[] => {
  const count = config.taskWorkers + config.dataWorkers;
  const last = config.workerPort + count - 1;
  const mistakes: string[] = [];
  if (config.port === config.backendPort) {
    mistakes.push(`${placeOf("backendPort")}: ${config.port} is also the port of ${placeOf("port")}; choose another`);
  }
  if (count > 0 && last > 65_535) {
    mistakes.push(`${placeOf("workerPort")}: ${count} workers from ${config.workerPort} on end beyond port 65535`);
  }
  const lastData = config.dataPort + dataPortsPerWorker * config.dataWorkers - 1;
  if (config.dataWorkers > 0 && lastData > 65_535) {
    const ports = `${config.dataWorkers} data workers from ${config.dataPort} on`;
    mistakes.push(`${placeOf("dataPort")}: the ports of ${ports} end beyond port 65535`);
  }
  const areAmong = (names: readonly (keyof Ports)[], first: number, end: number, range: string): void => {
    for (const name of names) {
      if (config[name] < first || config[name] > end) continue;
      mistakes.push(`${placeOf(name)}: ${config[name]} is among ${range}; choose another`);
    }
  };
  const data = config.dataWorkers > 0 ? (["dataPort"] as const) : [];
  const workers = `the ports of the ${count} workers, ${config.workerPort} to ${last} (${placeOf("workerPort")})`;
  areAmong(["port", "backendPort", ...data], config.workerPort, last, workers);
  const dataRange = `the ports for data, ${config.dataPort} to ${lastData} (${placeOf("dataPort")})`;
  areAmong(["port", "backendPort", "workerPort"], config.dataPort, lastData, dataRange);
  return mistakes;
};

/* ── The gateway ── */

export const httpPattern = /^(?:([\w.-]+|\[[0-9a-f:.]+\]):)?(\d{1,5})$/i;

/** The address and port of `[ADDRESS:]PORT`; null for what is none. */
export const httpAddress = (text: string): { readonly address: string; readonly port: number } | null => {
  const [, address = "127.0.0.1", digits = ""] = httpPattern.exec(text) ?? [];
  const port = Number(digits);
  return digits !== "" && port >= 1 && port <= 65_535 ? { address: address.replace(/^\[|\]$/g, ""), port } : null;
};

interface GatewayExposure {
  readonly address: string;
  readonly tokens: string | null;
  readonly cert: string | null;
  readonly key: string | null;
  readonly insecure: boolean;
}

/**
 * One line on flags that would let somebody in who should not be, or that contradict each other;
 * null for none.
 */
export const gatewayMistake = ({ address, tokens, cert, key, insecure }: GatewayExposure): string | null => {
  if ((cert === null) !== (key === null)) return "tls-cert and tls-key need each other";
  if (isLoopback(address) || address === "localhost" || address === "::1") return null;
  const exposed = `${address} can be reached from other machines`;
  if (tokens === null) {
    return `${exposed}, and without tokens by everybody there; make one by task-engine token, and give --tokens`;
  }
  if (cert !== null || insecure) return null;
  return `${exposed}, which could read the tokens; give --tls-cert and --tls-key, or take the risk by --insecure`;
};

interface ServedGateway {
  readonly http: string | null;
  readonly tokens: string | null;
  readonly tlsCert: string | null;
  readonly tlsKey: string | null;
  readonly key: string | null;
  readonly insecure: boolean;
}

/** The same of the settings of an engine that serves HTTP. */
export const gatewayMistakes = (config: ServedGateway, placeOf: (name: keyof ServedGateway) => string): string[] => {
  const { http, tokens, tlsCert: cert, tlsKey, key, insecure } = config;
  if (http === null) {
    const needless = (["tokens", "tlsCert", "tlsKey"] as const).filter((name) => config[name] !== null);
    return needless.map((name) => `${placeOf(name)}: is for HTTP, which takes --http [ADDRESS:]PORT`);
  }
  const address = httpAddress(http);
  if (address === null) return [`${placeOf("http")}: a port is a number from 1 to 65535, not ${JSON.stringify(http)}`];
  if (key !== null && tokens === null) {
    const make = "make a token by `task-engine token NAME RIGHTS`, and give --tokens";
    return [`${placeOf("http")}: an engine with keys serves nobody without a token; ${make}`];
  }
  const mistake = gatewayMistake({ ...address, tokens, cert, key: tlsKey, insecure });
  return mistake === null ? [] : [`${placeOf("http")}: ${mistake}`];
};
