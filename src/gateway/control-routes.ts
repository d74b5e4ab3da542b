/**
 * The engine itself, its jobs and its schedules. The engine decides who may, and its answers are
 * passed on.
 */
import { requestTimeoutMs, resetTimeoutMs, stopReasonLengthMax } from "../limits.ts";
import type { StopResult } from "../protocol/blocked.ts";
import type { Json, JsonObject } from "../protocol/json.ts";
import { type Engine, hasSome, numberIn } from "./engine.ts";
import { HttpError } from "./errors.ts";
import type { Call, Route } from "./routes.ts";
import type { Person } from "./tokens.ts";
import { replyAnswer } from "./values.ts";

const text: JsonObject = { type: "string" };
const whole: JsonObject = { type: "integer", minimum: 0 };
const json = (description: string) => ({ 200: { description } });

/** Past the router, where the gateway is on the robot; null where it is not. */
export type StopBySocket = ((reason: string) => Promise<StopResult>) | null;

export const controlRoutes = (engine: Engine, stopBySocket: StopBySocket): readonly Route[] => {
  const ask = async ({ person, request: { signal } }: Call, command: JsonObject, waitMs?: number): Promise<Response> =>
    replyAnswer(await engine.command(person, command, { signal, ...(waitMs !== undefined && { waitMs }) }));
  const page = ({ query }: Call, names: readonly string[]): JsonObject => {
    const known: Record<string, Json> = {};
    for (const name of names) {
      const value = name === "limit" || name === "sinceMs" ? numberIn(query, name) : query.get(name);
      if (value !== undefined && value !== null) known[name] = value;
    }
    return known;
  };
  return [
    {
      method: "GET",
      path: "/api/status",
      summary: "The engine's state: counts, queues, tasks, workers, resources, limits",
      rights: "observe or control",
      answers: json("as CONTROL status"),
      handle: (call) => ask(call, { command: "status" }),
    },
    {
      method: "GET",
      path: "/api/tasks",
      summary: "The tasks that the engine can run",
      rights: null,
      answers: json("`tasks`: name, number of workers, JSON Schemas of its arguments"),
      handle: async ({ person }) => {
        const { data } = await engine.command(person, { command: "tasks" });
        return Response.json({ tasks: (data as JsonObject).tasks ?? [] });
      },
    },
    {
      method: "POST",
      path: "/api/tasks/{name}/pause",
      summary: "Keep the jobs of a task waiting, through restarts",
      rights: "manage",
      answers: json("`paused`: since when"),
      handle: (call) => ask(call, { command: "pause", task: call.params.name ?? "" }),
    },
    {
      method: "POST",
      path: "/api/tasks/{name}/resume",
      summary: "End the pause or the quarantine of a task",
      rights: "manage",
      answers: json("what has ended"),
      handle: (call) => ask(call, { command: "resume", task: call.params.name ?? "" }),
    },
    {
      method: "GET",
      path: "/api/jobs",
      summary: "Jobs, the newest first",
      rights: "observe",
      query: {
        task: text,
        states: { type: "string", description: "with commas" },
        sinceMs: whole,
        before: text,
        limit: whole,
      },
      answers: json("`jobs`, and `next` for the next page, or null"),
      handle: (call) => {
        const states = call.query.get("states");
        const command = { command: "jobs", ...page(call, ["task", "sinceMs", "before", "limit"]) };
        return ask(call, states === null ? command : { ...command, states: states.split(",") });
      },
    },
    {
      method: "GET",
      path: "/api/jobs/{id}",
      summary: "One job",
      rights: "observe, but for one's own",
      answers: json("the job"),
      handle: (call) => ask(call, { command: "job", job: call.params.id ?? "" }),
    },
    {
      method: "GET",
      path: "/api/jobs/{id}/result",
      summary: "The result of a job; waits for it if asked to",
      rights: "observe, but for one's own",
      query: { waitMs: whole },
      answers: { 200: { description: "`data`, or the bytes of a binary result", type: "*/*" } },
      handle: async ({ person, params, query, request: { signal } }) => {
        const waitMs = numberIn(query, "waitMs") ?? 0;
        const command = { command: "result", job: params.id ?? "", waitMs };
        const reply = await engine.command(person, command, { signal, waitMs: waitMs + requestTimeoutMs });
        return replyAnswer(reply, (value) => ({ data: value }));
      },
    },
    {
      method: "GET",
      path: "/api/jobs/{id}/logs",
      summary: "The lines that a job has logged",
      rights: "observe, but for one's own",
      query: { before: whole, limit: whole },
      answers: json("`lines`"),
      handle: (call) => ask(call, { command: "logs", job: call.params.id ?? "", ...pageOfLines(call) }),
    },
    {
      method: "GET",
      path: "/api/logs",
      summary: "The lines that the jobs of a task have logged",
      rights: "observe",
      query: { task: text, before: whole, limit: whole },
      answers: json("`lines`"),
      handle: (call) => ask(call, { command: "logs", ...page(call, ["task"]), ...pageOfLines(call) }),
    },
    {
      method: "POST",
      path: "/api/jobs/{id}/cancel",
      summary: "Cancel a job",
      rights: "control, but for one's own",
      answers: json("`cancelled`: how many"),
      handle: (call) => ask(call, { command: "cancel", job: call.params.id ?? "" }),
    },
    {
      method: "POST",
      path: "/api/jobs/{id}/retry",
      summary: "Run a job that has failed again, as a new job",
      rights: "manage",
      body: {
        type: "object",
        properties: { confirm: { type: "boolean", description: "needed where the task may move something" } },
      },
      answers: json("`job`: the id of the new job"),
      handle: (call) => {
        const { confirm = false } = call.body;
        return ask(call, { command: "retry", job: call.params.id ?? "", confirm });
      },
    },
    {
      method: "GET",
      path: "/api/schedules",
      summary: "The schedules, and when each is due",
      rights: "observe",
      answers: json("`schedules`"),
      handle: (call) => ask(call, { command: "schedules" }),
    },
    {
      method: "POST",
      path: "/api/schedules/{name}",
      summary: "Pause, resume or run a schedule",
      rights: "manage",
      body: {
        type: "object",
        properties: { action: { type: "string", enum: ["pause", "resume", "run"] } },
        required: ["action"],
      },
      answers: json("the schedule"),
      handle: (call) => {
        const { action = null } = call.body;
        return ask(call, { command: "schedule", name: call.params.name ?? "", action });
      },
    },
    {
      method: "POST",
      path: "/api/estop",
      summary: "Emergency stop: every job ends, and none begins until the reset",
      rights: "send or control",
      isUrgent: true,
      body: { type: "object", properties: { reason: { type: "string", maxLength: stopReasonLengthMax } } },
      answers: json("`stopped`: the stop in force; `durable`: it is on the engine's disk"),
      handle: async ({ person, body }) => {
        const reason = reasonOf(person, body.reason);
        const ways = [engine.command(person, { command: "estop", reason }).then(({ data }): unknown => data)];
        if (stopBySocket !== null && mayStop(person)) ways.push(stopBySocket(reason).then(stopAnswer));
        return Response.json(await firstOf(ways));
      },
    },
    {
      method: "POST",
      path: "/api/reset",
      summary: "End the emergency stop, once all that it has begun is over. Starts nothing",
      rights: "control",
      body: { type: "object" },
      answers: json("`stopped`: null"),
      handle: (call) => ask(call, { command: "reset" }, resetTimeoutMs),
    },
  ];
};

const pageOfLines = ({ query }: Call): JsonObject => {
  const [before, limit] = [numberIn(query, "before"), numberIn(query, "limit")];
  return { ...(before !== undefined && { before }), ...(limit !== undefined && { limit }) };
};

const mayStop = (person: Person): boolean => hasSome(person, "send") || hasSome(person, "control");

/** Says who stops, as everybody is shown. A reason that is too long is cut. */
const reasonOf = ({ name }: Person, given: Json | undefined): string => {
  if (given !== undefined && typeof given !== "string") throw new HttpError("BAD_ARGS", "reason is not a string");
  const by = name === "" ? "" : `${given === undefined || given === "" ? "by" : " (by"} ${name}`;
  const end = by.startsWith(" (") ? `${by})` : by;
  return `${(given ?? "").slice(0, stopReasonLengthMax - end.length).toWellFormed()}${end}`;
};

const stopAnswer = ({ reason, since, durable, why }: StopResult): object => ({
  stopped: { reason, since },
  durable,
  ...(why !== undefined && { why }),
});

/** The first answer; the first failure where there is none. */
const firstOf = async (ways: readonly Promise<unknown>[]): Promise<unknown> =>
  Promise.any(ways).catch((failures: AggregateError) => {
    throw failures.errors[0];
  });
