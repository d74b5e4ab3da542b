/** The sender of a message as libzmq knows it by its connection, not by the message. */
import { CString, type Pointer } from "bun:ffi";
import { addressOf, pinnedBytes } from "../libc.ts";
import { zmq } from "./library.ts";
import { messageDescriptor } from "./options.ts";

export interface Peer {
  /** The id that the ZAP handler gave it; null for none. */
  readonly user: string | null;
  /** The file descriptor of its connection, which may be another's by now; −1 for none. */
  readonly descriptor: number;
}

export const noPeer: Peer = { user: null, descriptor: -1 };

const userId = pinnedBytes(8);
userId.set(Buffer.from("User-Id"));
const userIdAddress = addressOf(userId);

/** @param message address of a `zmq_msg_t` that was received */
export const peerOf = (message: Pointer): Peer => {
  const text = zmq.zmq_msg_gets(message, userIdAddress) as Pointer | null;
  return {
    user: text === null ? null : new CString(text).toString(),
    descriptor: zmq.zmq_msg_get(message, messageDescriptor),
  };
};
