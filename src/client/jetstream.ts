/**
 * The part of JetStream that a fleet's jobs need: its API by plain requests, and values that change
 * only from a known revision. Everything rejects with TaskEngineError, in one line for a person.
 */
import type { Msg, NatsConnection } from "@nats-io/transport-node";
import {
  fleetJobMs,
  fleetJobsBytesMax,
  fleetJobsMax,
  fleetJobsPerQueueMax,
  fleetStatesBytesMax,
  jetStreamMs,
} from "../limits.ts";
import { ProtocolError, TaskEngineError } from "../protocol/errors.ts";
import { jobsStream, jobsSubject, statesStream, statesSubject } from "../protocol/fleet-jobs.ts";
import { isJsonObject, type JsonObject } from "../protocol/json.ts";
import { decodeObject } from "../protocol/schema.ts";

/** ns, the unit of JetStream. */
export const nanoseconds = (ms: number): number => ms * 1e6;

const streams: readonly JsonObject[] = [
  {
    name: jobsStream,
    subjects: [jobsSubject],
    retention: "workqueue",
    discard: "new",
    discard_new_per_subject: true,
    max_msgs: fleetJobsMax,
    max_msgs_per_subject: fleetJobsPerQueueMax,
    max_bytes: fleetJobsBytesMax,
    max_age: nanoseconds(fleetJobMs),
  },
  {
    name: statesStream,
    subjects: [statesSubject],
    retention: "limits",
    discard: "new",
    max_msgs_per_subject: 1,
    max_bytes: fleetStatesBytesMax,
    max_age: nanoseconds(fleetJobMs),
    allow_rollup_hdrs: true,
    deny_delete: true,
    allow_direct: true,
  },
];

interface Value {
  readonly bytes: Uint8Array;
  readonly revision: number;
  /** ms since 1970 by the server's clock */
  readonly atMs: number;
}

/** Error codes of JetStream's API. */
const codes = { streamMissing: 10059, consumerMissing: 10014, wrongRevision: 10071, notEnabled: 10039 } as const;
const missing: ReadonlySet<number> = new Set([codes.streamMissing, codes.consumerMissing]);
const statusMissing = 404;

class JetStreamError extends TaskEngineError {
  constructor(
    what: string,
    readonly number: number,
    description: string,
  ) {
    const isFull = /maximum|insufficient|exceeded|no space/i.test(description);
    super(isFull ? "STORE_FULL" : "UNAVAILABLE", `${what}: JetStream says "${description}"`);
  }
}

export class JetStream {
  constructor(
    private readonly nats: NatsConnection,
    private readonly newHeaders: () => ReturnType<typeof import("@nats-io/transport-node").headers>,
  ) {}

  /**
   * Makes the streams that are not there yet. Those that somebody has made with other limits stay
   * as they are.
   */
  async prepare(): Promise<void> {
    for (const config of streams) {
      const name = String(config.name);
      try {
        await this.api(`STREAM.INFO.${name}`, "");
      } catch (error) {
        if (!(error instanceof JetStreamError) || error.number !== codes.streamMissing) throw error;
        await this.api(`STREAM.CREATE.${name}`, { storage: "file", num_replicas: 1, ...config });
      }
    }
  }

  /** A request to `$JS.API`. */
  async api(end: string, body: JsonObject | ""): Promise<JsonObject> {
    const text = body === "" ? "" : JSON.stringify(body);
    return answerIn(`the fleet's jobs (${end})`, await this.#request(`$JS.API.${end}`, text));
  }

  /**
   * Stores a message. False: there is one of this `id` already, or the subject has another revision
   * than the expected one.
   */
  async publish(
    subject: string,
    body: string | Uint8Array,
    { id, revision }: { readonly id?: string; readonly revision?: number } = {},
  ): Promise<{ readonly isNew: boolean; readonly revision: number }> {
    const headers = this.newHeaders();
    if (id !== undefined) headers.set("Nats-Msg-Id", id);
    if (revision !== undefined) headers.set("Nats-Expected-Last-Subject-Sequence", `${revision}`);
    try {
      const { seq = 0, duplicate = false } = answerIn(subject, await this.#request(subject, body, headers));
      return { isNew: duplicate !== true, revision: Number(seq) };
    } catch (error) {
      if (!(error instanceof JetStreamError) || error.number !== codes.wrongRevision) throw error;
      return { isNew: false, revision: 0 };
    }
  }

  /** Removes the value of a key of a bucket. */
  async remove(subject: string): Promise<void> {
    const headers = this.newHeaders();
    headers.set("KV-Operation", "PURGE");
    headers.set("Nats-Rollup", "sub");
    answerIn(subject, await this.#request(subject, "", headers));
  }

  async hasConsumer(stream: string, consumer: string): Promise<boolean> {
    try {
      await this.api(`CONSUMER.INFO.${stream}.${consumer}`, "");
      return true;
    } catch (error) {
      if (error instanceof JetStreamError && missing.has(error.number)) return false;
      throw error;
    }
  }

  /**
   * Reads the values of subjects that are among the newest `count` revisions of a stream, in their
   * order.
   */
  async readNewest(stream: string, subjects: string, count: number, take: (bytes: Uint8Array) => void): Promise<void> {
    const { state } = await this.api(`STREAM.INFO.${stream}`, "");
    const last = isJsonObject(state) ? Number(state.last_seq) : 0;
    const { createInbox } = await import("@nats-io/transport-node");
    const inbox = createInbox();
    const { promise: read, resolve } = Promise.withResolvers<boolean>();
    let expected = Number.POSITIVE_INFINITY;
    let received = 0;
    const look = (): void => {
      if (received >= expected) resolve(true);
    };
    const subscription = this.nats.subscribe(inbox, {
      callback: (error, { data, headers }) => {
        if (error !== null) return resolve(false);
        if ((headers?.get("KV-Operation") ?? "") === "") take(data);
        received++;
        look();
      },
    });
    try {
      const { num_pending, delivered } = await this.api(`CONSUMER.CREATE.${stream}`, {
        stream_name: stream,
        config: {
          ...{ deliver_subject: inbox, deliver_policy: "by_start_sequence", ack_policy: "none", num_replicas: 1 },
          ...{ opt_start_seq: Math.max(1, last - count), filter_subject: subjects, replay_policy: "instant" },
          ...{ inactive_threshold: nanoseconds(jetStreamMs), mem_storage: true, max_deliver: 1 },
        },
      });
      // Some may be on their way already; in place of one that changes meanwhile its new value
      // comes.
      const sent = isJsonObject(delivered) ? Number(delivered.consumer_seq) : 0;
      expected = Number(num_pending) + sent;
      look();
      if ((await Promise.race([read, Bun.sleep(jetStreamMs)])) === true) return;
      throw new TaskEngineError("UNAVAILABLE", `${stream} could not be read within ${jetStreamMs} ms`);
    } finally {
      subscription.unsubscribe();
    }
  }

  /** The newest value of a subject; null if there is none. */
  async get(stream: string, subject: string): Promise<Value | null> {
    const { headers, data } = await this.#request(`$JS.API.DIRECT.GET.${stream}.${subject}`, "");
    const status = headers?.code ?? 0;
    if (status === statusMissing || (headers?.get("KV-Operation") ?? "") !== "") return null;
    if (status !== 0) throw new JetStreamError(subject, status, headers?.description ?? "");
    const atMs = Date.parse(headers?.get("Nats-Time-Stamp") ?? "");
    return { bytes: data, revision: Number(headers?.get("Nats-Sequence")), atMs };
  }

  async #request(
    subject: string,
    body: string | Uint8Array,
    headers?: ReturnType<typeof this.newHeaders>,
  ): Promise<Msg> {
    try {
      return await this.nats.request(subject, body, {
        timeout: jetStreamMs,
        ...(headers !== undefined && { headers }),
      });
    } catch (error) {
      const { message, cause } = error as Error;
      const text = `${message} ${cause instanceof Error ? cause.message : ""}`;
      const why = /no responders/i.test(text)
        ? "there is no JetStream for this account: start the hub with `nats-server -js`"
        : /permission/i.test(text)
          ? `NATS does not allow ${JSON.stringify(subject)} to this program`
          : `JetStream has not answered within ${jetStreamMs} ms (${message}); it may be cut off, or forbid ${subject}`;
      throw new TaskEngineError("UNAVAILABLE", `the fleet's jobs are out of reach: ${why}`);
    }
  }
}

const answerIn = (what: string, { data }: Msg): JsonObject => {
  const answer = decodeObject(data, "answer");
  if (answer instanceof ProtocolError) throw new TaskEngineError("BAD_FRAME", `${what}: ${answer.message}`);
  const { error } = answer;
  if (!isJsonObject(error)) return answer;
  const { err_code, description = "an error without words" } = error;
  if (err_code === codes.notEnabled) {
    throw new TaskEngineError("UNAVAILABLE", `${what}: JetStream is not enabled for this account`);
  }
  throw new JetStreamError(what, Number(err_code), String(description));
};

/**
 * Whether the hub loses acknowledged jobs at a power cut, as far as a client can know: no server
 * tells its `sync_interval`, but those before 2.10 have none.
 */
export const powerCutNote = (
  info: { readonly version: string; readonly jetstream?: boolean } | undefined,
): { readonly isCertain: boolean; readonly text: string } => {
  const [major = 0, minor = 0] = (info?.version ?? "").split(".").map(Number);
  if (info?.jetstream === true && (major < 2 || (major === 2 && minor < 10))) {
    const what = `nats-server ${info.version} writes acknowledged jobs to its disk only now and then`;
    const remedy = "one from 2.10 on with `sync_interval: always` does not";
    return { isCertain: true, text: `${what}, and loses the last at a power cut; ${remedy}` };
  }
  const what = "the hub loses the last minutes of acknowledged jobs at a power cut";
  return { isCertain: false, text: `${what} unless it has \`sync_interval: always\`, which NATS tells no client` };
};
