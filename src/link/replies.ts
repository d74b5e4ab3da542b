/** Replies to the fleet: a result, progress or a failure, with the headers of LINK.md. */
import type { MsgHdrs, MsgHdrsImpl, NatsConnection } from "@nats-io/transport-node";
import type { BinaryReply, TaskReply } from "../client/pending.ts";
import { bytesIn } from "../protocol/arrays.ts";
import { ProtocolError, TaskEngineError } from "../protocol/errors.ts";
import { fleetHeaders, headerText } from "../protocol/fleet.ts";
import type { Json } from "../protocol/json.ts";

export interface Failure {
  readonly code: string;
  readonly message: string;
}

/** Rethrows what is a fault of this program. */
export const failureOf = (error: unknown): Failure => {
  if (error instanceof TaskEngineError || error instanceof ProtocolError) {
    return { code: error.code, message: error.message };
  }
  throw error;
};

interface Outgoing {
  readonly subject: string;
  readonly body: Uint8Array;
  readonly headers: MsgHdrs;
}

export class Replies {
  /**
   * They go together, at the end of the event loop's iteration: NATS' client writes once for them,
   * not once for each.
   */
  readonly #outgoing: Outgoing[] = [];

  /** @param Headers of NATS' module, which is loaded late */
  constructor(
    private readonly nats: NatsConnection,
    private readonly Headers: typeof MsgHdrsImpl,
    private readonly robot: string,
  ) {}

  result(subject: string, reply: TaskReply | BinaryReply): void {
    if ("type" in reply) {
      const meta = { ...reply.meta, ...reply.type };
      const type = { [fleetHeaders.contentType]: reply.type.contentType };
      this.#send(subject, bytesIn(reply.data), { [fleetHeaders.meta]: JSON.stringify(meta), ...type });
    } else this.json(subject, { data: reply.data }, { [fleetHeaders.meta]: JSON.stringify(reply.meta) });
  }

  progress(subject: string, data: Json): void {
    const meta = { id: this.robot, role: "responder", version: 0.3, type: "PROGRESS", pack: Date.now() / 1000 };
    this.json(subject, { data }, { [fleetHeaders.meta]: JSON.stringify(meta) });
  }

  /** @param deadmanMs within which it must come back */
  tick(subject: string, tick: number, deadmanMs: number): void {
    this.json(subject, { deadmanMs }, { [fleetHeaders.tick]: `${tick}` });
  }

  failure(subject: string, { code, message }: Failure): void {
    const text = headerText(message);
    this.json(subject, { code, message }, { [fleetHeaders.errorCode]: code, [fleetHeaders.errorText]: text });
  }

  json(subject: string, body: object, headers: Readonly<Record<string, string>> = {}): void {
    this.#send(subject, Buffer.from(JSON.stringify(body)), headers);
  }

  #send(subject: string, body: Uint8Array, given: Readonly<Record<string, string>>): void {
    // Nobody asked for a reply, or there is no way to say it any more.
    if (subject === "" || this.nats.isClosed()) return;
    const bytesMax = this.nats.info?.max_payload ?? Number.POSITIVE_INFINITY;
    const lines: Record<string, string[]> = { [fleetHeaders.robot]: [this.robot] };
    let bytes = body.length + headerBytes + fleetHeaders.robot.length + this.robot.length + lineBytes;
    for (const [name, value] of Object.entries(given)) {
      lines[name] = [value];
      bytes += name.length + Buffer.byteLength(value) + lineBytes;
    }
    if (bytes > bytesMax) {
      const message = `the reply has ${bytes} bytes, and NATS' limit (max_payload) is ${bytesMax}`;
      return this.failure(subject, { code: "TOO_LARGE", message });
    }
    // Each value is one line already: `headers.set` looks through all of them again.
    const headers = this.Headers.fromRecord(lines);
    if (this.#outgoing.push({ subject, body, headers }) === 1) setImmediate(() => this.#flush());
  }

  #flush(): void {
    for (const { subject, body, headers } of this.#outgoing.splice(0)) {
      if (!this.nats.isClosed()) this.nats.publish(subject, body, { headers });
    }
  }
}

/** bytes of `NATS/1.0` and the empty line, and of what stands around a name and its value. */
const headerBytes = 12;
const lineBytes = 4;
