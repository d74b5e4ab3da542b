/** Topics as `topics` lists them: PROTOCOL.md has the keys. */
import { rateWindowMs } from "../limits.ts";
import { ProtocolError } from "../protocol/errors.ts";
import { decodeValueMeta } from "../protocol/values.ts";
import { partsOf } from "./framed.ts";
import type { Staleness } from "./staleness.ts";
import { ageOf, type Topic } from "./topic.ts";

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
