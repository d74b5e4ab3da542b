/** Login and logout: the token of a browser becomes a cookie. */
import type { Json } from "../protocol/json.ts";
import { HttpError } from "./errors.ts";
import type { Call, Route } from "./routes.ts";
import type { Person } from "./tokens.ts";

interface PersonContext {
  readonly needsToken: boolean;
  /** Null for a token that is not valid, of which the answer is late. */
  readonly personOf: (token: string) => Promise<Person | null>;
  /** `Set-Cookie` for a token; null takes the cookie away. */
  readonly cookieOf: (token: string | null) => string;
}

export const personRoutes = ({ needsToken, personOf, cookieOf }: PersonContext): readonly Route[] => [
  {
    method: "GET",
    path: "/api/me",
    summary: "Who asks, and whether a token is needed",
    rights: null,
    isOpen: true,
    answers: { 200: { description: "`name` and `rights`, null without a token; `tokens`: one is needed" } },
    handle: ({ person }) => Response.json({ ...describe(person), tokens: needsToken }),
  },
  {
    method: "POST",
    path: "/api/login",
    summary: "Exchange a token for a cookie, which scripts cannot read",
    rights: null,
    isOpen: true,
    body: { type: "object", properties: { token: { type: "string" } }, required: ["token"] },
    answers: { 200: { description: "`name` and `rights`" } },
    handle: async ({ body: { token } }: Call) => {
      if (typeof token !== "string") throw new HttpError("BAD_ARGS", "token is not a string");
      if (!needsToken) throw new HttpError("BAD_ARGS", "no token is needed here");
      const person = await personOf(token.trim());
      if (person === null) throw new HttpError("NO_TOKEN", "the token is not valid");
      return Response.json(describe(person), { headers: { "Set-Cookie": cookieOf(token.trim()) } });
    },
  },
  {
    method: "POST",
    path: "/api/logout",
    summary: "Take the cookie away",
    rights: null,
    isOpen: true,
    body: { type: "object" },
    answers: { 200: { description: "an empty object" } },
    handle: () => Response.json({}, { headers: { "Set-Cookie": cookieOf(null) } }),
  },
];

const describe = ({ name, onBehalf }: Person): { readonly [key: string]: Json } => ({
  name: name === "" ? null : name,
  rights: onBehalf === null ? null : [...onBehalf.rights],
});
