import { TopicStore } from "../../src/data/topic-store.ts";
import { dataBytesMax, historyBytesMax } from "../../src/limits.ts";
import type { Gate } from "../../src/security/gate.ts";

/** A store of topics by the rights of a gate. */
export const storeOf = (gate: Gate, bytesMax = historyBytesMax, valueBytesMax = dataBytesMax): TopicStore =>
  new TopicStore({ access: () => gate.access, onWatched: () => undefined, bytesMax, valueBytesMax });
