/** A requestor on a bare socket: what it sends and gets are frames, so that it can also be wrong on purpose. */
import { Dealer, Socket } from "../../src/transport/zmq/socket.ts";

/** ms. A test that waits as long has failed. */
const patienceMs = 30_000;
const room = { sendHighWaterMark: 100_000, receiveHighWaterMark: 100_000 };

export const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

export const metaFrame = (more: object = {}): Buffer =>
  json({ id: "tester", role: "requestor", version: 0.1, type: "REQ", pack: 1, ...more });

export const taskFrame = (args: readonly unknown[] = [2, 3], more: object = {}): Buffer =>
  json({ task: "count", args, kwargs: {}, pack: 1, ...more });

/** A reply as an object: META, and DATA's content. */
export interface RawReply {
  readonly meta: Record<string, unknown>;
  readonly data: unknown;
}

export const readReply = (frames: readonly Buffer[]): RawReply => {
  const [meta, body] = frames
    .filter((frame) => frame.length > 0)
    .map((frame) => JSON.parse(Buffer.from(frame).toString()));
  return { meta, data: body?.data };
};

class RawRequestor implements Disposable {
  constructor(
    readonly socket: Socket,
    endpoint: string,
  ) {
    socket.connect(endpoint);
  }

  /** Sends frames as they are, envelope included. */
  send(...frames: (Uint8Array | string)[]): void {
    const result = this.socket.trySend(frames);
    if (result !== "sent") throw new Error(`the test's own queue is ${result}`);
  }

  async reply(): Promise<RawReply> {
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(() => late.reject(new Error("no reply")), patienceMs);
    try {
      return readReply(await Promise.race([this.socket.receive(), late.promise]));
    } finally {
      clearTimeout(timer);
    }
  }

  [Symbol.dispose](): void {
    this.socket.close();
  }
}

export const dealerTo = (endpoint: string): RawRequestor => new RawRequestor(new Dealer(room), endpoint);
export const requestTo = (endpoint: string): RawRequestor => new RawRequestor(new Socket("req"), endpoint);
