/** A subscriber by hand, over bare TCP: it sends what libzmq's own sockets would not, and as fast as it goes. */
import { createConnection } from "node:net";

export interface RawSubscriber extends Disposable {
  readonly isOpen: boolean;
  /** Resolves when there is room for more, or the connection has ended. */
  send(messages: readonly string[]): Promise<void>;
}

/** ZMTP 3.0 (https://rfc.zeromq.org/spec/23) with the mechanism NULL. */
const greeting = (): Buffer => {
  const bytes = Buffer.alloc(64);
  bytes.set([0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0]);
  bytes.write("NULL", 12);
  return bytes;
};
const ready = Buffer.from("\u0004\u0019\u0005READY\u000bSocket-Type\0\0\0\u0003SUB");

/** @param message of at most 255 bytes */
const frame = (message: string): Buffer => {
  const body = Buffer.from(message);
  return Buffer.concat([Buffer.from([0, body.length]), body]);
};

export const rawSubscriber = async (endpoint: string): Promise<RawSubscriber> => {
  const socket = createConnection(Number(endpoint.split(":").at(-1)), "127.0.0.1");
  const connected = Promise.withResolvers<void>();
  let proceed: () => void = () => undefined;
  socket.on("connect", connected.resolve);
  // A reset is an end like any other.
  socket.on("error", () => socket.destroy());
  socket.on("close", () => proceed());
  socket.on("drain", () => proceed());
  socket.resume();
  await connected.promise;
  socket.write(Buffer.concat([greeting(), ready]));
  return {
    get isOpen() {
      return !socket.destroyed;
    },
    send: async (messages) => {
      if (socket.destroyed || socket.write(Buffer.concat(messages.map(frame)))) return;
      await new Promise<void>((resolve) => {
        proceed = resolve;
      });
    },
    [Symbol.dispose]: () => socket.destroy(),
  };
};

export const subscribing = (topic: string): string => `\u0001${topic}`;
export const unsubscribing = (topic: string): string => `\0${topic}`;
