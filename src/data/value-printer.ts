/** A subscriber of all topics that prints each value, for `--verbose`. */
import { isUtf8 } from "node:buffer";
import { say } from "../process/log.ts";
import { engineTopicPrefix } from "../protocol/engine-topics.ts";
import { partsOf } from "./framed.ts";
import type { Topic } from "./topic.ts";
import type { StorePeer } from "./topic-store.ts";

/** @param tag begins each line */
export const valuePrinter = (tag: string): StorePeer => ({
  follow: ({ name, followers }: Topic) => {
    // A printed line would be the next value of `$engine/log`, and so on for ever.
    if (name.startsWith(engineTopicPrefix)) return;
    followers.push({
      offer: (bytes, start, end) => {
        const { payload } = partsOf({ bytes, start, end });
        say(`${tag} Received data: ${name} ${isUtf8(payload) ? payload.toString() : `${payload.length} bytes`}`);
      },
      drop: () => undefined,
      leave: () => undefined,
    });
  },
  forget: () => undefined,
  accessChanged: () => undefined,
  ownersChanged: () => undefined,
  close: () => undefined,
});
