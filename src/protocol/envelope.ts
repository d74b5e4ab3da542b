/**
 * The envelope that a ZeroMQ requestor puts before a message: the routing ids of proxies on the
 * way, and an empty frame. A reply goes out with the envelope of its request.
 */
import { envelopeBytesMax, envelopeFramesMax } from "../limits.ts";
import { ProtocolError } from "./errors.ts";
import { bytesOf, type Frame } from "./frame.ts";
import type { BadRequest, RequestMessage } from "./requests.ts";

/** The sender of a request, to which its reply goes. */
export interface Requestor {
  /** Key of its connection. */
  readonly peer: string;
  /**
   * Frames before the reply, with the empty delimiter; none where the transport has no envelopes.
   */
  readonly envelope: readonly Frame[];
}

/** A message, or the end, of a requestor's connection. */
export type Arrival =
  | {
      readonly type: "request";
      readonly requestor: Requestor;
      /** Name of the key that authenticated the connection; null for a connection without keys. */
      readonly user: string | null;
      readonly request: RequestMessage | BadRequest;
    }
  /**
   * The connection is gone. `peer`: its key. `cutReason`: the reason why this end closed it; null
   * if it did not.
   */
  | { readonly type: "requestorGone"; readonly peer: string; readonly cutReason: string | null };

interface OpenedEnvelope {
  readonly requestor: Requestor;
  readonly frames: readonly Frame[];
  /**
   * Set where the delimiter is missing or the envelope too large: META is then any of the frames.
   */
  readonly error?: ProtocolError;
}

const noEnvelope: readonly Frame[] = [];
/** Without proxies. */
const delimiterAlone: readonly Frame[] = [new Uint8Array(0)];

/**
 * The last requestor. Messages of one peer come in rows, and others compare requestors by identity.
 */
let last: Requestor = { peer: "", envelope: noEnvelope };

/** The requestor at the other end of a connection. */
export const requestorOf = (peer: string, envelope = noEnvelope): Requestor => {
  if (peer !== last.peer || envelope !== last.envelope) last = { peer, envelope };
  return last;
};

export const openEnvelope = (peer: string, message: readonly Frame[]): OpenedEnvelope => {
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

/** The reply to it goes to the peer itself, and not through proxies. */
const unopened = (peer: string, message: readonly Frame[], error: ProtocolError): OpenedEnvelope => ({
  requestor: requestorOf(peer, delimiterAlone),
  frames: message.slice(0, envelopeFramesMax),
  error,
});
