/**
 * The gateway's server: HTTP and WebSockets before one engine, of which it is a client like any
 * other. Each request passes the guard, is asked for its token, finds its route, and is answered;
 * whatever fails is answered by `{code, message}`.
 */
import type { Client } from "../client/client.ts";
import { gatewayBeatMs, gatewayDriveBytesMax, gatewayIdleSeconds, gatewayRequestsMax } from "../limits.ts";
import { routesOf } from "./api.ts";
import { objectOf } from "./body.ts";
import type { StopBySocket } from "./control-routes.ts";
import { type DriveSocket, driveHandlers } from "./drive-socket.ts";
import { Engine } from "./engine.ts";
import { failureAnswer, HttpError } from "./errors.ts";
import { Feeds } from "./feeds.ts";
import { Guard } from "./guard.ts";
import { type PageFile, pageFiles } from "./page-files.ts";
import { type Call, type Route, RouteTable } from "./routes.ts";
import { anybody, type Person, type Tokens } from "./tokens.ts";
import { Viewers } from "./viewer.ts";
import { challenge, Visitors } from "./visitors.ts";

export interface GatewayOptions {
  /** Closed by its owner, after the gateway. */
  readonly client: Client;
  readonly address: string;
  readonly port: number;
  /** Null for an engine without keys. */
  readonly tokens: Tokens | null;
  /** PEM. */
  readonly tls: { readonly cert: string; readonly key: string } | null;
  /** Names by which this machine may be called, beside its addresses and `localhost`. */
  readonly hostNames: readonly string[];
  readonly stopBySocket: StopBySocket;
  /** Writes a line to the log. */
  readonly warn: (line: string) => void;
}

type Server = Bun.Server<DriveSocket>;

export class Gateway {
  readonly #options: GatewayOptions;
  readonly #table: RouteTable;
  readonly #guard: Guard;
  readonly #visitors: Visitors;
  readonly #viewers = new Viewers(gatewayBeatMs);
  readonly #server: Server;
  #page: Promise<ReadonlyMap<string, PageFile>> | null = null;
  #requests = 0;

  /** Throws the error of the system if the address cannot be had. */
  constructor(options: GatewayOptions) {
    this.#options = options;
    const { client, address, port, tokens, tls, hostNames, stopBySocket } = options;
    this.#guard = new Guard(hostNames, tls !== null);
    this.#visitors = new Visitors(tokens, port, tls !== null);
    const visitors = this.#visitors;
    this.#table = new RouteTable(
      routesOf({
        engine: new Engine(client),
        feeds: new Feeds(client),
        viewers: this.#viewers,
        stopBySocket,
        isStill: (person) => visitors.isStill(person),
        keepOpen: (request) => this.#server.timeout(request, 0),
        upgrade: (request, data) => this.#server.upgrade(request, { data }),
        needsToken: tokens !== null,
        personOf: (token) => visitors.login(token),
        cookieOf: (token) => visitors.cookieOf(token),
      }),
    );
    this.#server = Bun.serve<DriveSocket>({
      hostname: address,
      port,
      ...(tls !== null && { tls }),
      development: false,
      // Values have a limit of their own, and what is larger than any is cut here.
      maxRequestBodySize: requestBytesMax,
      idleTimeout: gatewayIdleSeconds,
      fetch: (request) => this.#answer(request),
      websocket: {
        ...driveHandlers,
        maxPayloadLength: gatewayDriveBytesMax,
        backpressureLimit: gatewayDriveBytesMax,
        closeOnBackpressureLimit: true,
        idleTimeout: 2 * gatewayIdleSeconds,
        perMessageDeflate: false,
      },
      error: (failure) => {
        options.warn(`unexpected error, which is a fault of this program: ${failure.stack ?? failure.message}`);
        return Response.json(
          { code: "TASK_ERROR", message: "the gateway has failed; its log says why" },
          { status: 500 },
        );
      },
    });
  }

  /** Where it listens: `http://127.0.0.1:8080`. */
  get url(): string {
    return this.#server.url.href.replace(/\/$/, "");
  }

  get port(): number {
    return this.#server.port ?? this.#options.port;
  }

  /** Ends all streams and sockets, and takes no further requests. */
  async close(): Promise<void> {
    this.#viewers.endAll();
    await this.#server.stop(true);
  }

  async #answer(request: Request): Promise<Response | undefined> {
    let response: Response | undefined;
    try {
      this.#guard.check(request);
      response = await this.#route(request);
    } catch (error) {
      response = failureAnswer(error);
    }
    // An upgraded connection has no response.
    return response && guarded(response);
  }

  async #route(request: Request): Promise<Response | undefined> {
    const { path, query } = takeApart(request.url);
    const found = this.#table.find(request.method, path);
    if (found === "malformed") throw new HttpError("BAD_FRAME", "the path is not URL-encoded UTF-8");
    if (!("route" in found)) {
      const file = found.length === 0 ? await this.#file(request, path) : null;
      if (file !== null) return file;
      if (found.length === 0) throw new HttpError("NOT_FOUND", "there is no such path; /openapi.json lists them");
      throw new HttpError("WRONG_METHOD", `this path takes ${found.join(" and ")}`, { Allow: found.join(", ") });
    }
    const { route, params } = found;
    const person = await this.#admit(request, route);
    if (this.#requests >= gatewayRequestsMax && route.isUrgent !== true) {
      throw new HttpError("QUEUE_FULL", `${this.#requests} requests are in progress already; ask again later`);
    }
    this.#requests++;
    try {
      const body = route.body === undefined ? {} : await objectOf(request);
      return await route.handle({ request, person, params, query: new URLSearchParams(query), body } satisfies Call);
    } finally {
      this.#requests--;
    }
  }

  async #admit(request: Request, { isOpen = false }: Route): Promise<Person> {
    const person = this.#visitors.personOf(request);
    if (person !== null && person !== undefined) return person;
    if (isOpen) return anybody;
    if (person === undefined) return this.#visitors.refuse();
    throw new HttpError("NO_TOKEN", "a token is needed: `Authorization: Bearer TOKEN`, or POST /api/login", challenge);
  }

  async #file(request: Request, path: string): Promise<Response | null> {
    if (request.method !== "GET") return null;
    this.#page ??= pageFiles();
    const file = (await this.#page).get(path);
    if (file === undefined) return null;
    const isPacked = /\bgzip\b/.test(request.headers.get("accept-encoding") ?? "");
    return new Response(isPacked ? file.compressed : file.bytes, {
      headers: {
        "Content-Type": file.type,
        "Content-Security-Policy": pagePolicy,
        "Cache-Control": file.isImmutable ? "public, max-age=31536000, immutable" : "no-cache",
        Vary: "Accept-Encoding",
        ...(isPacked && { "Content-Encoding": "gzip" }),
      },
    });
  }
}

/** bytes of a request, beyond which the connection is cut: the largest value that may be set. */
const requestBytesMax = 32 * 1024 * 1024 + 64 * 1024;

/** The page runs its own scripts, talks to its own gateway, and shows nothing of anybody else. */
const pagePolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data: blob:",
  "connect-src 'self'",
  "manifest-src 'self'",
  "form-action 'none'",
  "base-uri 'none'",
  // Nothing becomes markup, whatever a script of the page does with it.
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
  "frame-ancestors 'none'",
].join("; ");

const guarded = (response: Response): Response => {
  const { headers } = response;
  headers.set("X-Content-Type-Options", "nosniff");
  headers.set("Referrer-Policy", "no-referrer");
  headers.set("X-Frame-Options", "DENY");
  headers.set("Cross-Origin-Resource-Policy", "same-origin");
  if (!headers.has("Cache-Control")) headers.set("Cache-Control", "no-store");
  if (!headers.has("Content-Security-Policy")) headers.set("Content-Security-Policy", "default-src 'none'");
  return response;
};

/** The path as it was sent, still encoded, and the query. */
const takeApart = (url: string): { readonly path: string; readonly query: string } => {
  const start = url.indexOf("/", url.indexOf("://") + 3);
  const mark = url.indexOf("?", start);
  return mark < 0
    ? { path: url.slice(start), query: "" }
    : { path: url.slice(start, mark), query: url.slice(mark + 1) };
};
