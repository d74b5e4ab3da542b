/**
 * A route: what it takes, who may, and what answers. All of them are in api.ts; OpenAPI is made
 * from these.
 */
import type { JsonObject } from "../protocol/json.ts";
import type { Person } from "./tokens.ts";

/** A request, taken apart. */
export interface Call {
  readonly request: Request;
  readonly person: Person;
  /** Decoded parameters by their names in the path. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  /** The body of a route with `body`; `{}` where there was none. */
  readonly body: JsonObject;
}

type Method = "GET" | "POST" | "PUT";

export interface Route {
  readonly method: Method;
  /** `{name}` is one segment; `{topic}` may have slashes. */
  readonly path: string;
  readonly summary: string;
  /**
   * The rights that it takes, one of them; null for none but a token. For people: the engine
   * decides.
   */
  readonly rights: string | null;
  /** It needs no token. */
  readonly isOpen?: boolean;
  /** It stops the robot: no bound of requests holds it up. */
  readonly isUrgent?: boolean;
  /** JSON Schema of each parameter of the query. */
  readonly query?: Readonly<Record<string, JsonObject>>;
  /** JSON Schema of the body. Without it the body is not read before the handler. */
  readonly body?: JsonObject;
  /** The body is bytes of any type. */
  readonly takesBytes?: boolean;
  /** Answers by status, with their types; `application/json` where none is given. */
  readonly answers: Readonly<Record<number, { readonly description: string; readonly type?: string }>>;
  /** Undefined where the connection has become a WebSocket. */
  readonly handle: (call: Call) => Response | undefined | Promise<Response>;
}

interface Found {
  readonly route: Route;
  readonly params: Readonly<Record<string, string>>;
}

/** Finds the route of a request. */
export class RouteTable {
  readonly #compiled: readonly { readonly route: Route; readonly pattern: RegExp; readonly names: readonly string[] }[];

  /** @param routes of two that fit a path the first one is taken */
  constructor(readonly routes: readonly Route[]) {
    this.#compiled = routes.map((route) => {
      const names = [...route.path.matchAll(/\{(\w+)\}/g)].map(([, name = ""]) => name);
      const source = route.path
        .replaceAll(".", "\\.")
        .replaceAll("{topic}", "(.+)")
        .replace(/\{\w+\}/g, "([^/]+)");
      return { route, pattern: new RegExp(`^${source}$`), names };
    });
  }

  /**
   * The route; the methods that the path has instead; or "malformed" for a path that is not
   * URL-encoded UTF-8.
   */
  find(method: string, path: string): Found | readonly string[] | "malformed" {
    const others = new Set<string>();
    for (const { route, pattern, names } of this.#compiled) {
      const match = pattern.exec(path);
      if (match === null) continue;
      if (route.method !== method) {
        others.add(route.method);
        continue;
      }
      try {
        const params = Object.fromEntries(
          names.map((name, index) => [name, decodeURIComponent(match[index + 1] ?? "")]),
        );
        return { route, params };
      } catch {
        return "malformed";
      }
    }
    return [...others];
  }
}
