/**
 * Writes how the robot is into the roster of the fleet: a bucket of JetStream, without a time to
 * live.
 */
import type { KV } from "@nats-io/kv";
import type { NatsConnection } from "@nats-io/transport-node";
import { linkRosterMs } from "../limits.ts";
import { type RobotReport, rosterBucket } from "../protocol/fleet.ts";

export class Roster {
  #bucket: KV | null = null;
  #written = "";
  #writtenAtMs = Number.NEGATIVE_INFINITY;
  #isWriting = false;
  #failure = "";

  /** @param warn writes a line to the log */
  constructor(
    private readonly nats: NatsConnection,
    private readonly warn: (line: string) => void,
  ) {}

  /** Writes a report that says something new, or after `linkRosterMs`. */
  async tell(report: RobotReport): Promise<void> {
    const { at: _, jobs: __, ...lasting } = report;
    const text = JSON.stringify(lasting);
    const now = performance.now();
    if (this.#isWriting || (text === this.#written && now - this.#writtenAtMs < linkRosterMs)) return;
    this.#isWriting = true;
    try {
      this.#bucket ??= await this.#open();
      await this.#bucket.put(report.robot, JSON.stringify(report));
      this.#written = text;
      this.#writtenAtMs = now;
      if (this.#failure !== "") this.warn("the roster of the fleet is written again");
      this.#failure = "";
    } catch (error) {
      // The next look tries again. Of a failure that lasts one line is enough.
      const { message } = error as Error;
      if (this.#failure === "" && !this.nats.isClosed()) {
        this.warn(`the roster of the fleet cannot be written: ${message}; it takes JetStream (nats-server -js)`);
      }
      this.#failure = message;
      this.#bucket = null;
    } finally {
      this.#isWriting = false;
    }
  }

  async #open(): Promise<KV> {
    const { Kvm } = await import("@nats-io/kv");
    return new Kvm(this.nats).create(rosterBucket, { history: 1 });
  }
}
