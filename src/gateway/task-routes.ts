/** Runs tasks. */
import { callTimeoutMs, gatewayJobsMax } from "../limits.ts";
import { isJsonObject, type Json, type JsonObject } from "../protocol/json.ts";
import { demand, type Engine } from "./engine.ts";
import { HttpError } from "./errors.ts";
import type { Call, Route } from "./routes.ts";
import { replyAnswer } from "./values.ts";

export const taskRoutes = (engine: Engine): readonly Route[] => {
  let jobs = 0;
  return [
    {
      method: "POST",
      path: "/api/tasks/{name}",
      summary: "Run a task, and wait for its result. A client that goes away cancels its job",
      rights: "send",
      body: {
        type: "object",
        properties: {
          args: { type: "array", items: {} },
          kwargs: { type: "object" },
          options: {
            type: "object",
            description: "limits of the job, as in PROTOCOL.md; and `waitMs`: how long its result is waited for",
          },
        },
      },
      answers: {
        200: { description: "`data`: the result; or the bytes of a binary result, with their type", type: "*/*" },
        202: { description: "`job`: the id of a detached job" },
      },
      handle: async (call) => {
        if (jobs >= gatewayJobsMax)
          throw new HttpError("QUEUE_FULL", `${jobs} jobs of the gateway wait or run already`);
        jobs++;
        try {
          return await runTask(engine, call);
        } finally {
          jobs--;
        }
      },
    },
  ];
};

let nextTurn: Promise<void> | null = null;

/** Resolves when all that has come so far is read: jobs that came together wake the router once. */
const turn = (): Promise<void> => {
  nextTurn ??= new Promise((resolve) => {
    setImmediate(() => {
      nextTurn = null;
      resolve();
    });
  });
  return nextTurn;
};

const useDrive = "an HTTP request cannot show that somebody is still there; drive it by the WebSocket /api/drive";

const runTask = async (engine: Engine, { person, params, body, request }: Call): Promise<Response> => {
  const { name: task = "" } = params;
  const { signal } = request;
  const { args = [], kwargs = {}, options = {} } = body;
  if (!Array.isArray(args)) throw new HttpError("BAD_ARGS", "args is not a list");
  const { waitMs = callTimeoutMs, ...limits } = objectIn("options", options);
  if (typeof waitMs !== "number") throw new HttpError("BAD_ARGS", "options.waitMs is not a number");
  if (limits.deadmanMs !== undefined) throw new HttpError("BAD_ARGS", `options.deadmanMs: ${useDrive}`);
  demand(person, "send", task.replace(/^task_/i, ""));
  const info = await engine.taskOf(task.replace(/^task_/i, ""));
  if (info?.deadmanMs !== undefined) throw new HttpError("BAD_ARGS", `${task} has a dead man: ${useDrive}`);
  await turn();
  const leaving = new AbortController();
  if (signal.aborted) leaving.abort();
  else signal.addEventListener("abort", () => leaving.abort(), { once: true });
  let isGuarded = false;
  const reply = await engine.client
    .request(task, args, objectIn("kwargs", kwargs), {
      ...limits,
      waitMs,
      binary: true,
      signal: leaving.signal,
      // The definition has got a dead man since the engine was asked.
      keepAlive: () => {
        isGuarded = true;
        leaving.abort();
      },
      onBehalf: person.onBehalf ?? undefined,
    })
    .catch((error: unknown) => {
      throw isGuarded ? new HttpError("BAD_ARGS", `${task} has a dead man: ${useDrive}`) : error;
    });
  return replyAnswer(reply, (data) => ({ data }));
};

const objectIn = (name: string, value: Json): JsonObject => {
  if (isJsonObject(value)) return value;
  throw new HttpError("BAD_ARGS", `${name} is not an object`);
};
