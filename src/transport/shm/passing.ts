/** Descriptors that one process gives another over a Unix socket, unix(7): SCM_RIGHTS. */
import { addressOf, libc, pinnedBytes, receiveWithoutWaiting, sendWithoutWaiting } from "../libc.ts";

const closeOnExec = 0x40000000; // MSG_CMSG_CLOEXEC, recvmsg(2)

/** `struct cmsghdr` and one descriptor behind it, cmsg(3). */
const control = new DataView(pinnedBytes(24).buffer);
const controlLength = 20; // CMSG_LEN(sizeof(int)): room for one descriptor only
const levelOffset = 8;
const typeOffset = 12;
const descriptorOffset = 16;
const socketLevel = 1; // SOL_SOCKET
const rights = 1; // SCM_RIGHTS

/**
 * A stream must carry at least one byte beside the descriptor: `struct iovec` and `struct msghdr`.
 */
const payload = pinnedBytes(1);
const vector = new BigUint64Array(pinnedBytes(16).buffer);
vector.set([BigInt(addressOf(payload)), BigInt(payload.length)]);
const message = new DataView(pinnedBytes(56).buffer);
const controlLengthOffset = 40;
message.setBigUint64(16, BigInt(addressOf(vector)), true);
message.setBigUint64(24, 1n, true);
message.setBigUint64(32, BigInt(addressOf(new Uint8Array(control.buffer))), true);
const messageBytes = new Uint8Array(message.buffer);

/** The other gets a descriptor of its own. False where the socket takes nothing. */
export const sendDescriptor = (socket: number, descriptor: number): boolean => {
  control.setBigUint64(0, BigInt(controlLength), true);
  control.setInt32(levelOffset, socketLevel, true);
  control.setInt32(typeOffset, rights, true);
  control.setInt32(descriptorOffset, descriptor, true);
  // Those that are sent take whole words.
  message.setBigUint64(controlLengthOffset, BigInt(control.byteLength), true);
  return libc.sendmsg(socket, messageBytes, sendWithoutWaiting) === payload.length;
};

/** Receives a descriptor, which the caller then owns; null if none came. */
export const receiveDescriptor = (socket: number): number | null => {
  message.setBigUint64(controlLengthOffset, BigInt(controlLength), true);
  const size = libc.recvmsg(socket, messageBytes, receiveWithoutWaiting | closeOnExec);
  const isThere =
    size === payload.length &&
    message.getBigUint64(controlLengthOffset, true) >= BigInt(controlLength) &&
    control.getInt32(levelOffset, true) === socketLevel &&
    control.getInt32(typeOffset, true) === rights;
  return isThere ? control.getInt32(descriptorOffset, true) : null;
};
