import { ptr } from "bun:ffi";
import { expect, setDefaultTimeout, test } from "bun:test";
import { openSync, readdirSync, readlinkSync } from "node:fs";
import { libc } from "../../../src/transport/libc.ts";
import { receiveDescriptor, sendDescriptor } from "../../../src/transport/shm/passing.ts";
import { socketPair } from "../../support/socket-pair.ts";

setDefaultTimeout(60_000); // on a busy machine

const openNow = (): number => readdirSync("/proc/self/fd").length;

test("a descriptor arrives as another one of the same file, and as nobody else's", () => {
  using pair = socketPair();
  const sent = openSync("/dev/null", "r");
  expect(sendDescriptor(pair.one, sent)).toBe(true);
  libc.close(sent);
  const received = receiveDescriptor(pair.other) ?? -1;
  expect(readlinkSync(`/proc/self/fd/${received}`)).toBe("/dev/null");
  // FD_CLOEXEC of F_GETFD: a child does not get it.
  expect(libc.fcntl(received, 1, 0)).toBe(1);
  libc.close(received);
});

test("where none has come there is none, be it that something has, or that nobody is there", () => {
  using pair = socketPair();
  expect(receiveDescriptor(pair.other)).toBeNull();
  const passed = openSync("/dev/null", "r");
  // What a descriptor has left behind in the memory for it must not count.
  sendDescriptor(pair.one, passed);
  libc.close(receiveDescriptor(pair.other) ?? -1);
  libc.send(pair.one, Buffer.from("x"), 1, 0);
  expect(receiveDescriptor(pair.other)).toBeNull();
  libc.shutdown(pair.one, 2);
  expect(receiveDescriptor(pair.other)).toBeNull();
  expect(sendDescriptor(pair.one, passed)).toBe(false);
  libc.close(passed);
});

test("of several that come at once no more than one is kept", () => {
  using pair = socketPair();
  const passed = openSync("/dev/null", "r");
  const control = Buffer.alloc(16 + 4 * 4);
  control.writeBigUInt64LE(BigInt(control.length), 0);
  control.writeInt32LE(1, 8);
  control.writeInt32LE(1, 12);
  for (let index = 0; index < 4; index++) control.writeInt32LE(passed, 16 + 4 * index);
  const payload = Buffer.from("x");
  const vector = new BigUint64Array([BigInt(ptr(payload)), 1n]);
  const message = new BigUint64Array([
    0n,
    0n,
    BigInt(ptr(vector)),
    1n,
    BigInt(ptr(control)),
    BigInt(control.length),
    0n,
  ]);
  expect(libc.sendmsg(pair.one, new Uint8Array(message.buffer), 0)).toBe(1);
  const before = openNow();
  const received = receiveDescriptor(pair.other);
  expect(openNow() - before).toBeLessThanOrEqual(1);
  if (received !== null) libc.close(received);
  expect(openNow()).toBe(before);
  libc.close(passed);
});
