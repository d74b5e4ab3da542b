/**
 * Addresses of the engine's sockets as people write them: `tcp://HOST:PORT`, an IPv6 host in
 * brackets.
 */
import { TaskEngineError } from "../protocol/errors.ts";

export const defaultEndpoint = "tcp://127.0.0.1:9000";

/** The environment variable for another default. */
export const endpointVariable = "TASK_ENGINE_ROUTER";

const pattern = /^tcp:\/\/(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+|\*):(\d{1,5})$/;

/** Returns true for an address that a client can connect to. */
export const isEndpoint = (text: string): boolean => {
  const { host, port } = addressIn(text);
  return host !== "*" && port > 0 && port < 65_536;
};

/**
 * The address that a client connects to: the given one or the default. Throws TaskEngineError,
 * BAD_ARGS.
 */
export const checkedEndpoint = (given: string | undefined): string => {
  const endpoint = given ?? (process.env[endpointVariable] || defaultEndpoint);
  if (isEndpoint(endpoint)) return endpoint;
  const origin = given === undefined ? endpointVariable : "endpoint";
  throw new TaskEngineError("BAD_ARGS", `${origin} ${JSON.stringify(endpoint)} is not of the form tcp://HOST:PORT`);
};

/** The two parts of an endpoint. */
export const addressIn = (endpoint: string): { readonly host: string; readonly port: number } => {
  const [, host = "", port] = pattern.exec(endpoint) ?? [];
  return { host, port: Number(port) };
};

/**
 * The address of a data worker. One that listens on all addresses (`tcp://0.0.0.0:10002`) is on the
 * router's machine, and reached by the router's host.
 */
export const reachableFrom = (routerEndpoint: string, endpoint: string): string => {
  const host = pattern.exec(endpoint)?.[1];
  const routerHost = pattern.exec(routerEndpoint)?.[1];
  if (routerHost === undefined || (host !== "0.0.0.0" && host !== "*" && host !== "[::]")) return endpoint;
  return `tcp://${routerHost}${endpoint.slice(endpoint.lastIndexOf(":"))}`;
};
