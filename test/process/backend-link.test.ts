import { expect, test } from "bun:test";
import { BackendLink } from "../../src/process/backend-link.ts";
import { Lateness } from "../../src/process/lateness.ts";
import { encodeBackend, type RouterHeader } from "../../src/protocol/backend.ts";
import { Router } from "../../src/transport/zmq/socket.ts";

test("a worker that is not admitted gives up what it holds, and is welcome when it is admitted later", async () => {
  using router = new Router();
  router.bind("tcp://127.0.0.1:*");
  let given = 0;
  const welcome = Promise.withResolvers<void>();
  const link = new BackendLink({
    endpoint: router.lastEndpoint,
    keys: {},
    ready: { type: "READY", role: "task", id: "TASK-1", pid: 1, tasks: ["grip"], endpoint: "" },
    tag: "[TEST]",
    onWelcome: welcome.resolve,
    onWork: () => undefined,
    onLost: () => given++,
  });
  try {
    const [key = new Uint8Array(0)] = await router.receive();
    const say = (header: RouterHeader) => router.trySend([key, ...encodeBackend(header)]);
    const refusal = {
      type: "REFUSED",
      code: "UNAUTHORIZED",
      message: "client arm lacks the right worker:grip",
    } as const;
    say(refusal);
    // Whatever it says next, it is not known.
    say({ type: "WHO" });
    const [, again] = await router.receive();
    expect(JSON.parse(Buffer.from(again ?? []).toString())).toMatchObject({ type: "READY", tasks: ["grip"] });
    expect(given).toBe(1);
    say({ type: "WELCOME" });
    await welcome.promise;
  } finally {
    link.close();
  }
});

test("a message is late by how much longer than the quickest it took, whatever the two clocks say", () => {
  const lateness = new Lateness();
  expect(lateness.of(5_000, 1_003)).toBe(0);
  expect(lateness.of(6_000, 2_000)).toBe(0);
  expect(lateness.of(7_000, 3_400)).toBeCloseTo(400, 0);
  expect(lateness.of(7_500, 3_500)).toBeCloseTo(0, 0);
});

test("clocks that drift apart make no message late", () => {
  const lateness = new Lateness();
  for (let second = 0; second < 86_400; second += 3) {
    const sentAt = second * 1_000;
    expect(lateness.of(sentAt, sentAt * 1.00005)).toBeLessThan(1);
  }
});

test("another router has another clock", () => {
  const lateness = new Lateness();
  lateness.of(1_000_000, 1_000);
  lateness.reset();
  expect(lateness.of(10, 60_000)).toBe(0);
  expect(lateness.of(20, 60_510)).toBeCloseTo(500, 0);
});
