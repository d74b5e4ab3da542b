/**
 * Hands the topics that belong to other data workers over to them, each by one message with its
 * newest values. It waits for the answers, so that no copy of all of them is made.
 */
import { handoverAheadMax, handoverMs, valueOverheadBytes } from "../limits.ts";
import { ProtocolError } from "../protocol/errors.ts";
import type { Frame } from "../protocol/frame.ts";
import { decodeStreamReply, encodeHandover } from "../protocol/stream.ts";
import { prefixLength } from "../protocol/values.ts";
import type { ShmConnection } from "../transport/shm/connection.ts";
import { lostConnection } from "../transport/transport.ts";
import { partsOf } from "./framed.ts";
import { framedEnd, framedStart, type Topic } from "./topic.ts";
import type { TopicStore } from "./topic-store.ts";

interface HandoverOptions {
  readonly store: TopicStore;
  /** bytes of one message beside its overhead. */
  readonly valueBytesMax: number;
  /** A connection to the stream port of a data worker of this machine; null if there is none. */
  readonly dial: (stream: string) => ShmConnection | null;
}

/** Returns the number of topics that nobody took, and which stay. */
export const handOver = async ({ store, valueBytesMax, dial }: HandoverOptions): Promise<number> => {
  const streams = new Map(store.owners.dataWorkers.map(({ publications, stream }) => [publications, stream]));
  const takers = new Map<string, Taker | null>();
  let lost = 0;
  for (const topic of [...store.topics]) {
    if (store.owners.owns(topic.name)) continue;
    const owner = store.owners.of(topic.name);
    let taker = takers.get(owner);
    if (taker === undefined) {
      const connection = dial(streams.get(owner) ?? "");
      taker = connection === null ? null : new Taker(connection, store);
      takers.set(owner, taker);
    }
    if (taker === null) lost++;
    else await taker.give(topic, valueBytesMax);
  }
  for (const taker of takers.values()) lost += (await taker?.end()) ?? 0;
  return lost;
};

/** The data worker that takes topics. */
class Taker {
  /** Topics without an answer so far, in the order of the answers. */
  #given: Topic[] = [];
  #lost = 0;

  constructor(
    private readonly connection: ShmConnection,
    private readonly store: TopicStore,
  ) {}

  async give(topic: Topic, bytesMax: number): Promise<void> {
    if (this.#given.length >= handoverAheadMax || this.connection.unsentBytes > 0) await this.#settle();
    if (
      this.connection.closed ||
      this.connection.trySend(encodeHandover(topic.name, valuesOf(topic, bytesMax))) !== "sent"
    ) {
      this.#lost++;
    } else this.#given.push(topic);
  }

  /** Returns the number of topics that it has not taken. */
  async end(): Promise<number> {
    await this.#settle();
    this.connection.drop();
    return this.#lost;
  }

  /** Waits for the answers to all that was given. */
  async #settle(): Promise<void> {
    const endAt = performance.now() + handoverMs;
    while (this.#given.length > 0) {
      this.connection.flush();
      const reply = this.connection.tryReceive();
      if (reply !== null && reply[0] !== lostConnection) this.#answered(reply);
      else if (this.connection.closed || performance.now() > endAt) break;
      else await Bun.sleep(1);
    }
    this.#lost += this.#given.length;
    if (this.#given.length > 0) this.connection.drop();
    this.#given = [];
  }

  #answered([, meta = "", data = ""]: readonly Frame[]): void {
    const reply = decodeStreamReply(meta, data);
    const topic = this.#given.shift();
    if (topic === undefined) return;
    if (!(reply instanceof ProtocolError) && reply.type === "ACK") this.store.handedOver(topic);
    else this.#lost++;
  }
}

/**
 * META and payload of the newest values that fit, the oldest first, as their publishers wrote them.
 */
const valuesOf = (topic: Topic, bytesMax: number): Frame[] => {
  const values: Buffer[][] = [];
  let bytes = 0;
  for (let chunk = topic.first; chunk !== null; chunk = chunk.next) {
    for (let record = 0; record < chunk.end; record = framedEnd(chunk.bytes, record)) {
      const { meta, payload } = partsOf({
        bytes: chunk.bytes,
        start: framedStart(record),
        end: framedEnd(chunk.bytes, record),
      });
      values.push([Buffer.concat([openBrace, meta.subarray(prefixLength)]), payload]);
      bytes += meta.length + payload.length;
    }
  }
  let dropped = 0;
  for (const [meta, payload] of values) {
    if (bytes <= bytesMax + valueOverheadBytes / 2 && values.length - dropped <= handoverValuesMax) break;
    if (dropped === values.length - 1) break;
    bytes -= (meta?.length ?? 0) + prefixLength + (payload?.length ?? 0);
    dropped++;
  }
  return values.slice(dropped).flat();
};

/** Each value takes 8 bytes for its lengths, beside the bytes that are counted. */
const handoverValuesMax = valueOverheadBytes / 32;
const openBrace = Buffer.from("{");
