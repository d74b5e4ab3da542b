/**
 * The envelope that a ROUTER socket puts before a message: the peer's routing id, the ids of proxies on the way, and an
 * empty frame. The answer goes out with the same envelope.
 */
import { envelopeBytesMax, envelopeFramesMax } from "../limits.ts";
import { ProtocolError } from "./errors.ts";
import { bytesOf, type Frame } from "./frame.ts";
import { asBuffer } from "./json.ts";

/** Who has asked, and where an answer goes. */
export interface Requestor {
  /** Key of the connection that it came by. */
  readonly peer: string;
  /** What a ROUTER socket takes before the answer, up to and with the empty delimiter; empty for any other connection. */
  readonly envelope: readonly Uint8Array[];
}

export interface Enveloped {
  readonly requestor: Requestor;
  readonly frames: readonly Frame[];
}

const delimiter = new Uint8Array(0);

/** The last one without proxies: messages of one come in rows, and its routing id is the same frame then. */
let lastRequestor: Requestor = { peer: "", envelope: [] };

/**
 * Where the delimiter is missing or the envelope too large, `error` says so and an answer goes to the peer itself; `frames` are
 * those among which META is.
 */
export const openEnvelope = (message: readonly Uint8Array[]): Enveloped & { readonly error?: ProtocolError } => {
  if (message[0] === lastRequestor.envelope[0] && message[1]?.length === 0)
    return { requestor: lastRequestor, frames: message.slice(2) };
  let end = 1;
  while (end < message.length && end < envelopeFramesMax && message[end]?.length !== 0) end++;
  if (end >= message.length || end >= envelopeFramesMax) {
    return unopened(
      message,
      new ProtocolError("BAD_FRAME", "envelope: the empty delimiter frame before META is missing"),
    );
  }
  const envelope = message.slice(0, end + 1);
  if (bytesOf(envelope) > envelopeBytesMax) {
    return unopened(message, new ProtocolError("TOO_LARGE", `envelope: more than ${envelopeBytesMax} bytes`));
  }
  const requestor = requestorOf(envelope);
  if (end === 1) lastRequestor = requestor;
  return { requestor, frames: message.slice(end + 1) };
};

const requestorOf = (envelope: readonly Uint8Array[]): Requestor => ({
  peer: routingKey(envelope[0] ?? delimiter),
  envelope,
});

/** The answer goes to the peer itself, not through the proxies that may be there. */
const unopened = ([id = delimiter, ...frames]: readonly Uint8Array[], error: ProtocolError) => ({
  requestor: requestorOf([id, delimiter]),
  frames: frames.slice(0, envelopeFramesMax),
  error,
});

/**
 * `make`, which is not called again for the very value that it was called with last. Messages of one peer come in rows: what was
 * made of its routing id is what is asked for next.
 */
export const rememberLast = <Given extends object, Made>(make: (given: Given) => Made): ((given: Given) => Made) => {
  let last: { readonly given: Given; readonly made: Made } | undefined;
  return (given) => {
    if (last?.given !== given) last = { given, made: make(given) };
    return last.made;
  };
};

/** Routing ids are bytes; as keys of a map they are strings of as many characters, which cannot be confused. */
export const routingKey = rememberLast((routingId: Uint8Array): string => asBuffer(routingId).toString("latin1"));
