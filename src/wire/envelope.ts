/**
 * The envelope that a ROUTER socket puts before a message: the peer's routing id, the ids of proxies on the way, and an
 * empty frame. The answer goes out with the same envelope.
 */
import { envelopeFramesMax } from "../limits.ts";
import { ProtocolError } from "./errors.ts";

export interface Enveloped {
  /** up to and with the empty delimiter */
  readonly envelope: readonly Uint8Array[];
  readonly frames: readonly Uint8Array[];
}

const delimiter = new Uint8Array(0);

/** Where the delimiter is missing, `error` says so and `envelope` is the one that an answer can take. */
export const openEnvelope = (message: readonly Uint8Array[]): Enveloped & { readonly error?: ProtocolError } => {
  let end = 1;
  while (end < message.length && end < envelopeFramesMax && message[end]?.length !== 0) end++;
  if (end < message.length && end < envelopeFramesMax) {
    return { envelope: message.slice(0, end + 1), frames: message.slice(end + 1) };
  }
  return {
    envelope: [message[0] ?? delimiter, delimiter],
    frames: [],
    error: new ProtocolError("BAD_FRAME", "envelope: the empty delimiter frame before META is missing"),
  };
};
