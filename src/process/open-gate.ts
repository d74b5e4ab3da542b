/** A file of its own: it loads libzmq, which a process without sockets does not need. */
import { Gate } from "../security/gate.ts";
import { warn } from "./log.ts";
import { onAuthorized, toldSecurity } from "./supervised.ts";

/** Waits for the keys, and follows updates of the authorized clients. Rejects with StartError. */
export const openGate = async (): Promise<Gate> => {
  const gate = new Gate(await toldSecurity(), warn);
  onAuthorized((text) => gate.admit(text));
  return gate;
};
