/**
 * Addresses of the engine's sockets as people write them: `tcp://HOST:PORT`, an IPv6 host in
 * brackets.
 */
import { addressIn } from "../protocol/address.ts";
import { TaskEngineError } from "../protocol/errors.ts";

export const defaultEndpoint = "tcp://127.0.0.1:9000";

/** The environment variable for another default. */
export const endpointVariable = "TASK_ENGINE_ROUTER";

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
