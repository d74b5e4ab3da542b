/** Requests of all kinds to a gateway, made from its own description. */
import { expect } from "bun:test";
import type { Served } from "./gateway.ts";

const values = ["", "x", "%00", "é", "-1", "1e9", "null", "../..", "a".repeat(300), "💥", "$engine/jobs", "count"];
const bodies: readonly unknown[] = [
  {},
  { args: 1 },
  { args: [], kwargs: 1 },
  { args: [1, 2], options: { waitMs: 50 } },
  { options: 1 },
  { options: { ttlMs: "x" } },
  { options: { detach: true, delayMs: -1 } },
  { reason: 5 },
  { action: {} },
  { confirm: 3 },
  { token: null },
  { token: "x".repeat(10_000) },
  JSON.parse('{"__proto__": {"args": [1]}, "constructor": 1}'),
];
/** Streams do not end, and a stop would keep the rest from being tried. */
const left = ["/api/events", "/api/stream/{topic}", "/api/drive", "/api/estop"];

type Operations = Readonly<Record<string, { readonly parameters: readonly { name: string; in: string }[] }>>;

/** Sends each route so many requests. None may show a fault of the gateway. The seed gives the same ones again. */
export const fuzz = async (
  served: Served,
  token: string,
  { rounds, seed }: { rounds: number; seed: number },
): Promise<void> => {
  let state = seed;
  const pick = <Item>(list: readonly Item[]): Item => {
    state = (state * 16_807) % 2_147_483_647;
    return list[state % list.length] as Item;
  };
  const { json } = await served.ask("GET", "/openapi.json");
  for (const [path, operations] of Object.entries<Operations>(json.paths)) {
    if (left.includes(path)) continue;
    for (const [method, { parameters }] of Object.entries(operations)) {
      for (let round = 0; round < rounds; round++) {
        const filled = path.replace(/\{\w+\}/g, () => encodeURIComponent(pick(values)) || "x");
        const inQuery = parameters.filter((parameter) => parameter.in === "query");
        const query = inQuery.map(({ name }) => `${name}=${encodeURIComponent(pick(values))}`).join("&");
        const asked = method === "get" ? {} : { body: pick(bodies) };
        const { status, text } = await served.ask(method.toUpperCase(), `${filled}?${query}`, { token, ...asked });
        const isFault = text.includes("the gateway has failed");
        expect(`${method} ${filled}?${query} ${JSON.stringify(asked)}: ${status} ${isFault}`).toEndWith("false");
        // A failure has a code, whatever it is.
        if (status >= 400)
          expect(JSON.parse(text)).toMatchObject({ code: expect.any(String), message: expect.any(String) });
      }
    }
  }
  expect(served.engine.errorLines.filter((line) => line.includes("fault of this program"))).toEqual([]);
};
