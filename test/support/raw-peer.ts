/** A peer by hand, over bare TCP: it sends what libzmq's own sockets would not, and as fast as it goes. */
import { createConnection } from "node:net";

export interface RawPeer extends Disposable {
  readonly isOpen: boolean;
  /** Resolves when there is room for more, or the connection has ended. */
  send(frames: readonly Uint8Array[]): Promise<void>;
}

/** ZMTP 3.0 (https://rfc.zeromq.org/spec/23) with the mechanism NULL. */
const greetingBytes = 64;
/** Of the body of a short READY, whose length is in one byte. */
const readyBytesMax = 255;
const greeting = (): Buffer => {
  const bytes = Buffer.alloc(greetingBytes);
  bytes.set([0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0]);
  bytes.write("NULL", 12);
  return bytes;
};
const ready = (type: string): Buffer => {
  const body = Buffer.from(`\u0005READY\u000bSocket-Type\0\0\0${String.fromCharCode(type.length)}${type}`);
  return Buffer.concat([Buffer.from([4, body.length]), body]);
};

/** A frame as it travels. @param more whether the message goes on after it */
export const rawFrame = (content: string | Uint8Array, more = false): Buffer => {
  const body = Buffer.from(content as string);
  const head = Buffer.alloc(9);
  head[0] = 2 + Number(more);
  head.writeBigUInt64BE(BigInt(body.length), 1);
  return Buffer.concat([head, body]);
};

/** @param type of its socket: `SUB`, `DEALER` */
export const rawPeer = async (endpoint: string, type: string): Promise<RawPeer> => {
  const socket = createConnection(Number(endpoint.split(":").at(-1)), "127.0.0.1");
  const welcomed = Promise.withResolvers<void>();
  let proceed: () => void = () => undefined;
  let heard = Buffer.alloc(0);
  // libzmq ends a connection whose first message comes before its own READY is out.
  socket.on("data", (bytes) => {
    if (typeof bytes === "string" || heard.length > greetingBytes + 2 + readyBytesMax) return;
    heard = Buffer.concat([heard, bytes]);
    if (heard.length >= greetingBytes + 2 + (heard[greetingBytes + 1] ?? 0)) welcomed.resolve();
  });
  socket.on("connect", () => socket.write(Buffer.concat([greeting(), ready(type)])));
  socket.on("close", welcomed.resolve);
  // A reset is an end like any other.
  socket.on("error", () => socket.destroy());
  socket.on("close", () => proceed());
  socket.on("drain", () => proceed());
  await welcomed.promise;
  return {
    get isOpen() {
      return !socket.destroyed;
    },
    send: async (frames) => {
      if (socket.destroyed || socket.write(Buffer.concat(frames))) return;
      await new Promise<void>((resolve) => {
        proceed = resolve;
      });
    },
    [Symbol.dispose]: () => socket.destroy(),
  };
};

export const subscribing = (topic: string): Buffer => rawFrame(`\u0001${topic}`);
export const unsubscribing = (topic: string): Buffer => rawFrame(`\0${topic}`);
