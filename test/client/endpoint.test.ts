import { expect, setDefaultTimeout, test } from "bun:test";
import { isEndpoint } from "../../src/client/endpoint.ts";
import { reachableFrom } from "../../src/protocol/address.ts";

setDefaultTimeout(60_000); // on a busy machine

test.each(["tcp://127.0.0.1:9000", "tcp://robot.local:1", "tcp://[::1]:65535"])("%s is an endpoint", (text) => {
  expect(isEndpoint(text)).toBe(true);
});

test.each([
  "tcp://:9000",
  "tcp://a b:9000",
  "ipc:///tmp/x",
  "tcp://h:99999",
  "tcp://h:1x",
  "tcp://*:9000",
  " tcp://h:1",
  "tcp://h:1\n",
])("%p is none", (text) => {
  expect(isEndpoint(text)).toBe(false);
});

test("a data worker on all addresses is reached where its router is", () => {
  expect(reachableFrom("tcp://robot.local:9000", "tcp://0.0.0.0:10002")).toBe("tcp://robot.local:10002");
  expect(reachableFrom("tcp://[fe80::1]:9000", "tcp://[::]:10002")).toBe("tcp://[fe80::1]:10002");
  expect(reachableFrom("tcp://robot.local:9000", "tcp://10.0.0.7:10002")).toBe("tcp://10.0.0.7:10002");
});
