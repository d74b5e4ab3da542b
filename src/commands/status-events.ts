/**
 * The last events of an engine, for `status --watch`: it follows the engine's own topics, and each
 * event is a line. Without the right to follow them, or at an engine that has none, one line says
 * so, or none comes.
 */
import type { Client, Json, JsonObject, TopicValue } from "../client/client.ts";
import { statusEventsMax } from "../limits.ts";
import { isJsonObject } from "../protocol/json.ts";

/** All but the log, which `serve` prints. */
const followed = ["$engine/jobs", "$engine/workers", "$engine/stop", "$engine/resources"] as const;

export class LastEvents implements AsyncDisposable {
  readonly #subscription: ReturnType<Client["subscribe"]>;
  #lines: string[] = [];
  #news = Promise.withResolvers<void>();

  constructor(engine: Client) {
    this.#subscription = engine.subscribe(...followed);
    void this.#follow();
  }

  /** Takes the last events, the newest first, each a line that begins with its time. */
  read(): readonly string[] {
    this.#news = Promise.withResolvers();
    return this.#lines;
  }

  /** Resolves when there is an event that was not read. */
  get news(): Promise<void> {
    return this.#news.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#subscription.return();
  }

  async #follow(): Promise<void> {
    try {
      for await (const value of this.#subscription) {
        const line = describeEvent(value);
        if (line === null) continue;
        this.#lines = [line, ...this.#lines.slice(0, statusEventsMax - 1)];
        this.#news.resolve();
      }
    } catch (failure) {
      // The status itself comes all the same: it needs another right, and no data worker.
      this.#lines = [`no events: ${(failure as Error).message}`];
    }
  }
}

/** One line on an event: `12:05:31.250 count (5f1c-1) ended: TIMEOUT (it ran too long)`. */
export const describeEvent = ({ topic, data }: Pick<TopicValue, "topic" | "data">): string | null => {
  if (!isJsonObject(data) || data instanceof Uint8Array) return null;
  const { at } = data;
  const words = wordsOf(topic, data);
  if (words === null || typeof at !== "number") return null;
  return `${new Date(at * 1000).toISOString().slice(11, 23)} ${words}`;
};

const wordsOf = (topic: string, data: JsonObject): string | null => {
  switch (topic) {
    case "$engine/jobs":
      return jobWords(data);
    case "$engine/workers":
      return `${text(data.worker)} ${text(data.event)}${ending(data.why)}`;
    case "$engine/stop": {
      const { stopped } = data;
      if (!isJsonObject(stopped)) return "no emergency stop";
      const onDisk = data.durable === true ? "" : `, not on the disk${ending(data.why)}`;
      return `EMERGENCY STOP${ending(stopped.reason)}${onDisk}`;
    }
    case "$engine/resources": {
      const { holder } = data;
      const task = isJsonObject(holder) ? ` by ${text(holder.task)}` : "";
      return `${text(data.name)} ${text(data.state)}${task}, ${text(data.waiting)} waiting`;
    }
    default:
      return null;
  }
};

const jobWords = ({ event, task, serial, worker, code, ms, message, progress }: JsonObject): string => {
  const name = serial === "" ? text(task) : `${text(task)} (${text(serial)})`;
  const by = typeof worker === "string" ? ` by ${worker}` : "";
  if (event === "progress") return `${name} progress: ${JSON.stringify(progress ?? null)}`;
  if (event !== "ended") return `${name} ${text(event)}${by}`;
  const after = typeof ms === "number" ? ` after ${Number(ms.toPrecision(3))} ms` : "";
  return code === null ? `${name} done${by}${after}` : `${name} ended${by}${after}: ${text(code)} (${text(message)})`;
};

const text = (value: Json | undefined): string => (typeof value === "string" ? value : JSON.stringify(value ?? null));

const ending = (why: Json | undefined): string => (typeof why === "string" && why !== "" ? `: ${why}` : "");
