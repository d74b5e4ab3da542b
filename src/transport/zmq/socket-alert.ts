/**
 * Tells when libzmq has something to do for one socket. The descriptor that it has for that, an eventfd(2), holds its own word that
 * there is something; what is read is written back, so that libzmq finds it, too.
 */
import { DescriptorAlert } from "../alert.ts";
import { duplicateOf } from "../libc.ts";
import type { Alert, Source } from "../reactor.ts";

export const alertOf = (socket: Source, onAlert: () => void): Alert => {
  // Our own to the same eventfd: libzmq closes its one when it likes, and that number may then be another file's.
  const descriptor = duplicateOf(socket.descriptor);
  if (descriptor === null) throw new Error("there is no file descriptor left to wait for a socket");
  const expectIt = (): void => {
    socket.expect();
    onAlert();
  };
  return new DescriptorAlert({ descriptor, givesBack: true, onAlert: expectIt });
};
