/**
 * Values of topics. They come from the data workers, for the gateway itself: it looks at the
 * person's rights.
 */
import type { Client } from "../client/client.ts";
import { dataBytesMaxMax } from "../limits.ts";
import { bytesOf, isJson } from "./body.ts";
import { demand, numberIn } from "./engine.ts";
import { HttpError } from "./errors.ts";
import type { Route } from "./routes.ts";
import { bytesAnswer } from "./values.ts";

type TopicValue = Awaited<ReturnType<Client["get"]>>;

export const dataRoutes = (client: Client): readonly Route[] => [
  {
    method: "GET",
    path: "/api/data",
    summary: "The topics, and what each has",
    rights: "read",
    query: { prefix: { type: "string" } },
    answers: { 200: { description: "`topics`: name, type, size, rate, age" } },
    handle: async ({ person, query }) => {
      const prefix = query.get("prefix") ?? "";
      demand(person, "read", prefix);
      return Response.json({ topics: await client.topics(prefix) });
    },
  },
  {
    method: "GET",
    path: "/api/data/{topic}/history",
    summary: "The values of a topic that are still kept, the oldest first",
    rights: "read",
    query: { lastMs: { type: "number", minimum: 0 }, limit: { type: "integer", minimum: 1 } },
    answers: { 200: { description: "`values`: data, pack and seq; of binary ones contentType and bytes, how many" } },
    handle: async ({ person, params, query }) => {
      const { topic = "" } = params;
      demand(person, "read", topic);
      const [lastMs, limit] = [numberIn(query, "lastMs"), numberIn(query, "limit")];
      const history = await client.history(topic, {
        ...(lastMs !== undefined && { lastMs }),
        ...(limit !== undefined && { limit }),
      });
      return Response.json({ values: history.map(describe) });
    },
  },
  {
    method: "GET",
    path: "/api/data/{topic}",
    summary: "The newest value of a topic, as it is",
    rights: "read",
    answers: { 200: { description: "JSON, or bytes with their type", type: "*/*" } },
    handle: async ({ person, params }) => {
      const { topic = "" } = params;
      demand(person, "read", topic);
      const value = await client.get(topic);
      const { contentType, dtype, shape } = value;
      const place = { "X-Pack": `${value.pack}`, "X-Seq": `${value.seq}`, "X-Epoch": value.epoch };
      if (contentType === undefined) return Response.json(value.data, { headers: place });
      return bytesAnswer(value.bytes, { contentType, dtype, shape }, place);
    },
  },
  {
    method: "PUT",
    path: "/api/data/{topic}",
    summary: "Give a value to a topic: JSON, or bytes of any other type",
    rights: "write",
    takesBytes: true,
    answers: { 200: { description: "`seq` and `epoch`: its place in the topic" } },
    handle: async ({ person, params, request }) => {
      const { topic = "" } = params;
      demand(person, "write", topic);
      const contentType = request.headers.get("content-type");
      if (contentType === null)
        throw new HttpError("BAD_FRAME", "Content-Type is missing: application/json, image/jpeg");
      const bytes = await bytesOf(request, dataBytesMaxMax);
      const published = isJson(contentType)
        ? await client.publish(topic, jsonIn(bytes), { confirm: true })
        : await client.publish(topic, bytes, { confirm: true, contentType });
      return Response.json(published);
    },
  },
];

const jsonIn = (bytes: Uint8Array): unknown => {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw new HttpError("BAD_FRAME", `the body is no JSON: ${(error as Error).message}`);
  }
};

const describe = (value: TopicValue): object => {
  const { seq, pack, contentType, dtype, shape } = value;
  if (contentType === undefined) return { data: value.data, pack, seq };
  return { contentType, dtype, shape, bytes: value.bytes.length, pack, seq };
};
