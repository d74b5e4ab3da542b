/** Topics as `topics` lists them and as `status` counts them: PROTOCOL.md has the keys. */
import { rateWindowMs } from "../limits.ts";
import { ProtocolError } from "../protocol/errors.ts";
import type { StoreReport } from "../protocol/reports.ts";
import { decodeValueMeta } from "../protocol/values.ts";
import { partsOf } from "./framed.ts";
import type { Staleness } from "./staleness.ts";
import { ageOf, type Topic } from "./topic.ts";
import type { Topics } from "./topics.ts";

/** @param now wrapped ms */
export const describeTopic = (topic: Topic, now: number, staleness: Staleness): object => {
  const place = topic.newestPlace;
  const parts = place === null ? null : partsOf(place);
  const meta = parts === null ? null : decodeValueMeta(parts.meta);
  return {
    topic: topic.name,
    contentType: (meta instanceof ProtocolError ? null : meta?.contentType) ?? "application/json",
    bytes: parts?.payload.length ?? 0,
    hz: Math.round(topic.rate(rateWindowMs, now) * 100) / 100,
    ageMs: topic.last === null ? null : ageOf(topic.last.lastAt, now),
    values: topic.seq,
    dropped: topic.dropped,
    ...(staleness.of(topic.name) ?? { staleMs: null, stale: false }),
    publisher: topic.publisher,
  };
};

/** What the store keeps and has lost, for `status`. */
export const storeReport = (topics: Topics, drops: Readonly<Record<string, number>>): StoreReport => {
  let missed = 0;
  for (const topic of topics) missed += topic.dropped;
  return { topics: topics.size, bytes: topics.bytes, missed, dropped: { ...drops } };
};
