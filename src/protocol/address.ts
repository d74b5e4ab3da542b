/** Addresses of the engine's sockets, `tcp://HOST:PORT`, an IPv6 host in brackets. */

const pattern = /^tcp:\/\/(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+|\*):(\d{1,5})$/;

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
