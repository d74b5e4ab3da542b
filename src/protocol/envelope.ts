/**
 * The envelope that a ZeroMQ requestor puts before a message: the routing ids of proxies on the way, and an empty frame. The answer
 * goes out with the same envelope.
 */
import { envelopeBytesMax, envelopeFramesMax } from "../limits.ts";
import { ProtocolError } from "./errors.ts";
import { bytesOf, type Frame } from "./frame.ts";

/** The sender of a request, to which its answer goes. */
export interface Requestor {
  /** Key of the connection that the request came by. */
  readonly peer: string;
  /** Goes before the answer, up to and with the empty delimiter; empty where the transport has no envelopes. */
  readonly envelope: readonly Frame[];
}

export interface Enveloped {
  readonly requestor: Requestor;
  readonly frames: readonly Frame[];
}

const noEnvelope: readonly Frame[] = [];
/** Without proxies. */
const delimiterAlone: readonly Frame[] = [new Uint8Array(0)];

/** The one made last: messages of one peer come in rows, and others compare requestors by identity. */
let last: Requestor = { peer: "", envelope: noEnvelope };

/** The requestor at the other end of a connection. */
export const requestorOf = (peer: string, envelope = noEnvelope): Requestor => {
  if (peer !== last.peer || envelope !== last.envelope) last = { peer, envelope };
  return last;
};

/**
 * Where the delimiter is missing or the envelope too large, `error` says so and an answer goes to the peer itself, not through the
 * proxies that may be there; `frames` are those among which META is.
 */
export const openEnvelope = (
  peer: string,
  message: readonly Frame[],
): Enveloped & { readonly error?: ProtocolError } => {
  if (message[0]?.length === 0) return { requestor: requestorOf(peer, delimiterAlone), frames: message.slice(1) };
  const end = message.findIndex(({ length }) => length === 0);
  if (end < 0 || end + 1 >= envelopeFramesMax) {
    return unopened(
      peer,
      message,
      new ProtocolError("BAD_FRAME", "envelope: the empty delimiter frame before META is missing"),
    );
  }
  const envelope = message.slice(0, end + 1);
  if (peer.length + bytesOf(envelope) > envelopeBytesMax) {
    return unopened(peer, message, new ProtocolError("TOO_LARGE", `envelope: more than ${envelopeBytesMax} bytes`));
  }
  return { requestor: requestorOf(peer, envelope), frames: message.slice(end + 1) };
};

const unopened = (peer: string, message: readonly Frame[], error: ProtocolError) => ({
  requestor: requestorOf(peer, delimiterAlone),
  frames: message.slice(0, envelopeFramesMax),
  error,
});
