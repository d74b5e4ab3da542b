/** READY: what a worker says of itself when it joins. */
import * as v from "valibot";
import { sourcesMax, workerTasksMax } from "../limits.ts";
import { argumentSchemaSchema, policyRows } from "./policy.ts";
import { headerSchema, lazily, nameSchema } from "./schema.ts";

const name = nameSchema();

const endpoint = v.pipe(v.string(), v.maxLength(256));

/** The ports of a data worker, as in READY. */
export const dataPortsSchema = lazily(() =>
  v.object({
    publications: endpoint,
    stream: v.optional(endpoint),
    plain: v.optional(endpoint),
  }),
);

export type DataWorkerPorts = v.InferOutput<ReturnType<typeof dataPortsSchema>>;

export const readySchema = headerSchema("READY", () => ({
  role: v.picklist(["task", "data", "source", "journal"]),
  /** `TASK-<pid>`: the worker in META of its replies. */
  id: name,
  pid: v.pipe(v.number(), v.integer()),
  /**
   * Names without the prefix `task_`, with a policy where there is one; empty for other roles.
   */
  tasks: v.pipe(
    v.array(v.union([name, v.strictObject({ name, schema: v.optional(argumentSchemaSchema()), ...policyRows() })])),
    v.maxLength(workerTasksMax),
  ),
  /**
   * Address for requestors of a task worker, or for subscribers of a data worker; empty for none.
   */
  endpoint,
  /** The language of its tasks or sources, for `status`. */
  language: v.optional(v.picklist(["typescript", "python"])),
  /** The functions that a source worker calls, and the topics of their results. */
  sources: v.optional(
    v.pipe(
      v.array(v.object({ name, topic: name, everyMs: v.number(), staleMs: v.optional(v.number()) })),
      v.maxLength(sourcesMax),
    ),
  ),
  /** A data worker's port for publishers and subscribers of 0.3. */
  stream: v.optional(endpoint),
  /** Its port for publishers that are a plain PUB socket. */
  plain: v.optional(endpoint),
  /** Its supervisor can kill it, and reports after its death which of its jobs it began last. */
  supervised: v.optional(v.boolean()),
  /** It wants STOPPED, since it has jobs that do not come from the router (of its own port). */
  stops: v.optional(v.boolean()),
}));
