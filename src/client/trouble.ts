/** Why a client has no connection, as far as a look at the port can tell, in words for a person. */
import type { Finding } from "../transport/zmq/probe.ts";

export interface Trouble {
  /** Completes a line that has named the endpoint. */
  readonly why: string;
  /** Waiting for an engine that is starting does not help. */
  readonly isFinal: boolean;
}

/** Errors of connect(2) as errno(3) names them. */
const errnoNames: Readonly<Record<number, string>> = {
  1: "EPERM",
  13: "EACCES",
  99: "EADDRNOTAVAIL",
  101: "ENETUNREACH",
  104: "ECONNRESET",
  110: "ETIMEDOUT",
  111: "ECONNREFUSED",
  113: "EHOSTUNREACH",
};
const refused = 111;

const saidLengthMax = 40;

/** Null where it looks like an engine that may answer yet. */
export const troubleOf = (finding: Finding, host: string, hasKeys: boolean): Trouble | null => {
  switch (finding.kind) {
    case "unknown host":
      return later(`the name ${host} leads to no IPv4 address; check it, and that the network knows it`);
    case "no connection":
      return later(noConnection(finding.errno));
    case "closed":
      return later("the listener there closes the connection at once; check that it is the engine's port");
    case "mute":
      return later(
        "the listener there sends nothing; check that it is the engine's port, and that the engine is not halted",
      );
    case "other":
      return final(`another program listens there, which sends ${quoted(finding.said)}; name the engine's port`);
    case "zmtp":
      return mismatch(finding.mechanism, hasKeys);
  }
};

const later = (why: string): Trouble => ({ why, isFinal: false });
const final = (why: string): Trouble => ({ why, isFinal: true });

const noConnection = (errno: number): string => {
  const name = errnoNames[errno] ?? `errno ${errno}`;
  if (errno !== refused)
    return `there is no route to it (${name}); check the address, and that the machine is on the network`;
  return `nobody listens there (${name}); start the engine (task-engine serve), or check the port`;
};

const mismatch = (mechanism: string, hasKeys: boolean): Trouble | null => {
  if (mechanism === (hasKeys ? "CURVE" : "NULL")) return null;
  if (mechanism === "CURVE")
    return final("the engine there has keys; name its own and yours by --server-key and --key");
  if (mechanism === "NULL")
    return final('the engine there has no keys; use none (--key none, key: "none" in a program)');
  return final(`the listener there uses ${mechanism}, which no engine does; name the engine's port`);
};

/** The first line of it, without what a terminal would obey. */
const quoted = (said: Uint8Array): string => {
  const [line = ""] = Buffer.from(said)
    .toString("latin1")
    .split(/[\r\n]/);
  return JSON.stringify(line.slice(0, saidLengthMax).replace(/[^ -~]/g, "?"));
};
