/**
 * The reason why a client has no connection, in words for a person. libzmq does not say it, so the
 * client checks the port itself while a request waits for the connection.
 */
import { probeAfterMs, probeEveryMs } from "../limits.ts";
import { type Finding, probe } from "../transport/zmq/probe.ts";

export interface PortProblem {
  /** The end of a line that names the endpoint first. */
  readonly why: string;
  /** Waiting for an engine that is starting does not help. */
  readonly isFinal: boolean;
}

const nothingComes =
  "nothing comes back from there; check the address, that the machine is on, and that no firewall drops what is sent";

export class PortCheck {
  /** null where the last check found nothing wrong, or there was none. */
  #problem: PortProblem | null = null;
  #timer: Timer | undefined;
  #isRunning = false;

  /** @param isWanted returns true as long as a request waits for a connection */
  constructor(
    private readonly host: string,
    private readonly port: number,
    private readonly hasKeys: boolean,
    private readonly isWanted: () => boolean,
    private readonly onProblem: (problem: PortProblem) => void,
  ) {}

  get why(): string | null {
    return this.#problem?.why ?? (this.#isRunning ? nothingComes : null);
  }

  /** Checks the port soon, and again as long as that is wanted. */
  start(): void {
    if (!this.#isRunning) this.#checkIn(probeAfterMs);
  }

  clear(): void {
    this.#problem = null;
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #checkIn(ms: number): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.#check();
    }, ms);
  }

  async #check(): Promise<void> {
    if (!this.isWanted()) return;
    this.#isRunning = true;
    const finding = await probe(this.host, this.port, this.isWanted);
    this.#isRunning = false;
    if (finding === null || !this.isWanted()) return;
    this.#problem = problemOf(finding, this.host, this.hasKeys);
    if (this.#problem !== null) this.onProblem(this.#problem);
    if (this.isWanted()) this.#checkIn(probeEveryMs);
  }
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

/** Returns null for a port that looks like an engine's, which may answer yet. */
const problemOf = (finding: Finding, host: string, hasKeys: boolean): PortProblem | null => {
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
      return final(`another program listens there, which sends ${firstLine(finding.said)}; name the engine's port`);
    case "zmtp":
      return mismatch(finding.mechanism, hasKeys);
  }
};

const later = (why: string): PortProblem => ({ why, isFinal: false });
const final = (why: string): PortProblem => ({ why, isFinal: true });

const noConnection = (errno: number): string => {
  const name = errnoNames[errno] ?? `errno ${errno}`;
  if (errno !== refused)
    return `there is no route to it (${name}); check the address, and that the machine is on the network`;
  return `nobody listens there (${name}); start the engine (task-engine serve), or check the port`;
};

const mismatch = (mechanism: string, hasKeys: boolean): PortProblem | null => {
  if (mechanism === (hasKeys ? "CURVE" : "NULL")) return null;
  if (mechanism === "CURVE")
    return final("the engine there has keys; name its own and yours by --server-key and --key");
  if (mechanism === "NULL")
    return final('the engine there has no keys; use none (--key none, key: "none" in a program)');
  return final(`the listener there uses ${mechanism}, which no engine does; name the engine's port`);
};

/** The first line of it, without control characters. */
const firstLine = (said: Uint8Array): string => {
  const [line = ""] = Buffer.from(said)
    .toString("latin1")
    .split(/[\r\n]/);
  return JSON.stringify(line.slice(0, saidLengthMax).replace(/[^ -~]/g, "?"));
};
