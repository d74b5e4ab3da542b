/**
 * Values of a robot's topics that its link mirrors to its fleet: the newest ones, and those that
 * come.
 */
import type { KV } from "@nats-io/kv";
import type { Msg, NatsConnection } from "@nats-io/transport-node";
import { TopicValue } from "../data/topic-value.ts";
import { linkMirrorTopicsMax, requestTimeoutMs } from "../limits.ts";
import { ProtocolError, TaskEngineError } from "../protocol/errors.ts";
import { dataBucket, fleetHeaders, isMirrored, subjectOf } from "../protocol/fleet.ts";
import { decodeValueMeta } from "../protocol/values.ts";
import { sizeBytes } from "../transport/shm/framing.ts";

/** The server's status for a key without a value. */
const noValue = 404;

/** Null for what no link sends. */
const mirroredValue = (topic: string, { headers, data }: Msg): TopicValue | null => {
  const text = headers?.get(fleetHeaders.meta) ?? "";
  if (decodeValueMeta(text) instanceof ProtocolError) return null;
  const meta = Buffer.from(text);
  const message = Buffer.concat([meta, Buffer.alloc(sizeBytes), data]);
  const { seq } = JSON.parse(text) as { seq: number };
  return new TopicValue(topic, seq, message, meta.length);
};

/** The last value of a topic that a robot has mirrored. Rejects with TaskEngineError. */
export const getMirrored = async (nats: NatsConnection, robot: string, topic: string): Promise<TopicValue> => {
  const isKnown = isMirrored(topic) && (await openData(nats)) !== null;
  const value = isKnown ? await lastOf(nats, robot, topic) : null;
  if (value !== null) return value;
  const what = `no value of ${JSON.stringify(topic)} of robot ${robot}`;
  throw new TaskEngineError("UNKNOWN_TOPIC", `the fleet has ${what}; \`mirror\` of its [link] names what it sends`);
};

const lastOf = async (nats: NatsConnection, robot: string, topic: string): Promise<TopicValue | null> => {
  const subject = `$JS.API.DIRECT.GET.KV_${dataBucket}.$KV.${dataBucket}.${robot}.${topic}`;
  let message: Msg;
  try {
    message = await nats.request(subject, "", { timeout: requestTimeoutMs });
  } catch (error) {
    throw new TaskEngineError("NO_ANSWER", `the values of the fleet cannot be read: ${(error as Error).message}`);
  }
  return message.headers?.code === noValue ? null : mirroredValue(topic, message);
};

/**
 * The bucket of the newest values; null where no robot has mirrored anything yet. Rejects with
 * TaskEngineError.
 */
export const openData = async (nats: NatsConnection): Promise<KV | null> => {
  const { Kvm } = await import("@nats-io/kv");
  try {
    const bucket = await new Kvm(nats).open(dataBucket);
    await bucket.status();
    return bucket;
  } catch (error) {
    const { message } = error as Error;
    if (/not found/.test(message)) return null;
    throw new TaskEngineError("UNAVAILABLE", `the values of the fleet cannot be read: ${message}`);
  }
};

/** Topics of a robot that have a value there. */
export const keptTopics = async (bucket: KV, robot: string): Promise<string[]> => {
  const keys = await Array.fromAsync(await bucket.keys(`${robot}.>`));
  return keys.map((key) => key.slice(robot.length + 1));
};

/**
 * Follows topics of a robot: the last value of each, then every later one, until the connection
 * ends. After a loss of the connection the last ones are read again.
 * @param topics whole names, or, with a `/` or `.` at the end, beginnings of names; none is all
 * @returns whether there was a value at first
 */
export const watchMirrored = async (
  nats: NatsConnection,
  robot: string,
  topics: readonly string[],
  onValue: (value: TopicValue) => void,
): Promise<boolean> => {
  const start = `${subjectOf({ robot })}.data.`;
  const isPrefix = (topic: string): boolean => /[/.]$/.test(topic);
  for (const topic of topics) {
    if (isMirrored(topic.replace(/[/.]$/, ""))) continue;
    throw new TaskEngineError("BAD_ARGS", `${JSON.stringify(topic)} is no topic that a link mirrors`);
  }
  const isWanted = (topic: string): boolean =>
    topics.length === 0 || topics.some((name) => (isPrefix(name) ? topic.startsWith(name) : topic === name));
  const isExact = topics.length > 0 && !topics.some(isPrefix);
  const places = new Map<string, string>();
  const take = (value: TopicValue | null): void => {
    if (value === null || !isWanted(value.topic)) return;
    const { topic, seq, epoch } = value;
    const [lastEpoch, lastSeq] = places.get(topic)?.split(" ") ?? [];
    if (epoch === lastEpoch && seq <= Number(lastSeq)) return;
    if (places.size >= linkMirrorTopicsMax) places.clear();
    places.set(topic, `${epoch} ${seq}`);
    onValue(value);
  };
  for (const subject of isExact ? topics : [">"]) {
    nats.subscribe(start + subject, {
      callback: (error, message) => {
        if (error === null) take(mirroredValue(message.subject.slice(start.length), message));
      },
    });
  }
  const readKept = async (): Promise<void> => {
    const bucket = await openData(nats);
    if (bucket === null) return;
    const kept = isExact ? topics : (await keptTopics(bucket, robot)).filter(isWanted);
    for (const topic of kept) take(await lastOf(nats, robot, topic));
  };
  await readKept();
  void (async () => {
    for await (const { type } of nats.status()) if (type === "reconnect") await readKept().catch(() => undefined);
  })();
  return places.size > 0;
};
