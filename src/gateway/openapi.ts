/** The description of the API for programs, OpenAPI 3.1, made from the routes themselves. */
import type { JsonObject } from "../protocol/json.ts";
import { failureStatuses } from "./errors.ts";
import type { Route } from "./routes.ts";

const failure: JsonObject = {
  description: "it was not done",
  content: {
    "application/json": {
      schema: {
        type: "object",
        properties: { code: { type: "string" }, message: { type: "string" } },
        required: ["code", "message"],
      },
    },
  },
};

/** @param routes all others */
export const openApiRoute = (routes: readonly Route[]): Route => {
  const own: Route = {
    method: "GET",
    path: "/openapi.json",
    summary: "This description",
    rights: null,
    isOpen: true,
    answers: { 200: { description: "OpenAPI 3.1" } },
    handle: () => Response.json(describe([...routes, own])),
  };
  return own;
};

const describe = (routes: readonly Route[]): JsonObject => {
  const paths: Record<string, Record<string, JsonObject>> = {};
  for (const route of routes) {
    const operations = paths[route.path] ?? {};
    operations[route.method.toLowerCase()] = operationOf(route);
    paths[route.path] = operations;
  }
  return {
    openapi: "3.1.0",
    info: { title: "Task Engine", version: "0.3" },
    components: {
      securitySchemes: { token: { type: "http", scheme: "bearer" } },
    },
    paths,
  };
};

const operationOf = ({
  method,
  path,
  summary,
  rights,
  isOpen,
  query = {},
  body,
  takesBytes,
  answers,
}: Route): JsonObject => {
  const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name = ""]) => ({
    name,
    in: "path",
    required: true,
    schema: { type: "string", minLength: 1 },
  }));
  const inQuery = Object.entries(query).map(([name, schema]) => ({ name, in: "query", required: false, schema }));
  const responses = Object.entries(answers).map(([status, { description, type = "application/json" }]) => [
    status,
    { description, content: { [type]: { schema: {} } } },
  ]);
  const failures = failureStatuses.map((status) => [`${status}`, failure]);
  const content = takesBytes === true ? { "*/*": { schema: {} } } : { "application/json": { schema: body ?? {} } };
  return {
    summary,
    operationId: `${method.toLowerCase()}${path.replace(/[^a-z]+/gi, "_")}`,
    ...(rights !== null && { description: `Needs the right ${rights}.` }),
    security: isOpen === true ? [] : [{ token: [] }],
    parameters: [...inPath, ...inQuery],
    ...((body !== undefined || takesBytes === true) && { requestBody: { required: takesBytes === true, content } }),
    responses: Object.fromEntries([...responses, ...failures]),
  };
};
