/** What can be said of a call besides its arguments, while it waits and while it runs. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { connect, type Json } from "task-engine";
import { stopReasonLengthMax } from "../../src/limits.ts";
import { argsOf, cancelOf, handRouter } from "../support/hand-router.ts";
import { freePorts } from "../support/ports.ts";
import { rejection } from "../support/rejection.ts";

setDefaultTimeout(60_000); // on a busy machine

test("priority, ttlMs and timeoutMs go to the engine, and waitMs does not", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const result = client.call("drive", [1], {}, { priority: 9, ttlMs: 200, timeoutMs: 1500, waitMs: 9_000 });
  const arrived = await router.next();
  expect(arrived.request).toMatchObject({
    parts: [{ task: { options: { priority: 9, ttlMs: 200, timeoutMs: 1500 } } }],
  });
  arrived.ack(null);
  await result;
});

test("latest and preempt go to the engine", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const options = { latest: { key: "wheels", abort: true }, preempt: true };
  const result = client.call("drive", [1], {}, options);
  const arrived = await router.next();
  expect(arrived.request).toMatchObject({ parts: [{ task: { options } }] });
  arrived.ack(null);
  await result;
});

test("a call without limits has no options on the wire", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const result = client.call("drive", [1], {}, { waitMs: 9_000 });
  const { request, ack } = await router.next();
  expect(request.kind === "task" && Object.keys(request.parts[0]?.task ?? {})).not.toContain("options");
  ack(null);
  await result;
});

test("progress is told as it comes, and does not end the call", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const told: Json[] = [];
  const result = client.call("drive", [], {}, { onProgress: (data) => told.push(data) });
  const arrived = await router.next();
  for (const metres of [1, 2, 3]) arrived.progress({ metres });
  arrived.ack("there");
  arrived.progress("too late");
  expect(await result).toBe("there");
  expect(told).toEqual([{ metres: 1 }, { metres: 2 }, { metres: 3 }]);
});

test("progress that nobody asked for is no error", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const result = client.call("drive");
  const arrived = await router.next();
  arrived.progress(1);
  arrived.ack(2);
  expect(await result).toBe(2);
  expect(client.dropped).toEqual({ unknown: 0, malformed: 0 });
});

test("aborting the signal cancels the call, which ends by the engine's word", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const stop = new AbortController();
  const failure = rejection(client.call("drive", [], {}, { signal: stop.signal }));
  const arrived = await router.next();
  stop.abort();
  await cancelOf(router, arrived);
  arrived.refuse("CANCELLED", "its requestor cancelled it");
  expect(await failure).toMatchObject({ code: "CANCELLED", message: "its requestor cancelled it" });
});

test("a result that is quicker than the cancellation counts", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const stop = new AbortController();
  const result = client.call("drive", [], {}, { signal: stop.signal });
  const arrived = await router.next();
  stop.abort();
  arrived.ack("there");
  expect(await result).toBe("there");
  await cancelOf(router, arrived);
  arrived.refuse("UNKNOWN_SERIAL", "no such request");
  const next = client.call("next");
  (await router.next()).ack(null);
  await next;
  expect(client.dropped.unknown).toBe(1);
});

test("a signal that is aborted before the call, or before there is a connection, sends nothing", async () => {
  const endpoint = `tcp://127.0.0.1:${freePorts(1)}`;
  await using client = connect(endpoint);
  const stop = new AbortController();
  const unsent = rejection(client.call("drive", ["unsent"], {}, { signal: stop.signal }));
  stop.abort();
  expect(await unsent).toMatchObject({ code: "CANCELLED", message: "it was cancelled before it was sent" });
  expect((await rejection(client.call("drive", ["late"], {}, { signal: stop.signal }))).code).toBe("CANCELLED");
  using router = handRouter(endpoint);
  const next = client.call("drive", ["next"]);
  const arrived = await router.next();
  expect(argsOf(arrived)).toEqual(["next"]);
  arrived.ack(null);
  await next;
});

test("one signal for many calls cancels each that still waits", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const stop = new AbortController();
  const done = client.call("quick", [], {}, { signal: stop.signal });
  (await router.next()).ack("done");
  expect(await done).toBe("done");
  const failures = Array.from({ length: 20 }, () => rejection(client.call("slow", [], {}, { signal: stop.signal })));
  const arrived = [];
  for (let count = 0; count < 20; count++) arrived.push(await router.next());
  stop.abort();
  for (const one of arrived) {
    await cancelOf(router, one);
    one.refuse("CANCELLED", "its requestor cancelled it");
  }
  for (const { code } of await Promise.all(failures)) expect(code).toBe("CANCELLED");
});

test("a call whose time is over is cancelled", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const failure = rejection(client.call("slow", [], {}, { waitMs: 30 }));
  await cancelOf(router, await router.next());
  expect((await failure).code).toBe("NO_ANSWER");
});

test("estop gives the stop that holds and whether it lasts, and cuts a reason that is too long: nobody is refused for it", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const stopped = { reason: "a hand is in the arm", since: 1_700_000_000.5 };
  const stop = client.estop("a hand is in the arm");
  const asked = await router.next();
  expect(asked.request).toMatchObject({ control: { command: "estop", reason: "a hand is in the arm" } });
  asked.ack({ stopped, durable: true, halted: 3 });
  expect(await stop).toEqual({ ...stopped, durable: true });
  const again = client.estop(`${"x".repeat(stopReasonLengthMax - 1)}\u{1f916}`);
  const { request, ack } = await router.next();
  expect(request).toMatchObject({ control: { reason: `${"x".repeat(stopReasonLengthMax - 1)}\ufffd` } });
  ack({ stopped, durable: false, why: "its disk is full" });
  expect(await again).toEqual({ ...stopped, durable: false, why: "its disk is full" });
  const old = client.estop();
  (await router.next()).ack({ stopped });
  expect(await old).toEqual({ ...stopped, durable: false, why: expect.stringContaining("does not say") });
});

test("estop needs no reason, and reset gives nothing", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const stop = client.estop();
  const stopping = await router.next();
  expect(stopping.request).toMatchObject({ control: { command: "estop", reason: "" } });
  stopping.ack({ stopped: { reason: "", since: 1 } });
  await stop;
  const reset = client.reset();
  const resetting = await router.next();
  expect(resetting.request).toMatchObject({ control: { command: "reset" } });
  resetting.ack({ stopped: null });
  expect(await reset).toBeUndefined();
  const refused = rejection(client.reset());
  (await router.next()).refuse("UNAUTHORIZED", "client laptop lacks the right control");
  expect((await refused).code).toBe("UNAUTHORIZED");
});

test("a reset that is given up, by its signal or its time, is cancelled", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const interrupt = new AbortController();
  const resets = [rejection(client.reset({ signal: interrupt.signal })), rejection(client.reset({ waitMs: 30 }))];
  const [first, second] = [await router.next(), await router.next()];
  await cancelOf(router, second);
  interrupt.abort();
  await cancelOf(router, first);
  first.refuse("CANCELLED", "its requestor cancelled it");
  expect((await Promise.all(resets)).map(({ code }) => code)).toEqual(["CANCELLED", "NO_ANSWER"]);
});

test("cancel asks as an operator, and says when there was nothing to cancel", async () => {
  using router = handRouter();
  await using client = connect(router.endpoint);
  const cancelled = client.cancel("ab-1");
  const asked = await router.next();
  expect(asked.request).toMatchObject({ control: { command: "cancel", serial: "ab-1" } });
  asked.ack({ cancelled: 2 });
  expect(await cancelled).toBe(2);
  const failure = rejection(client.cancel("ab-2"));
  (await router.next()).ack({ cancelled: 0 });
  expect(await failure).toMatchObject({
    code: "UNKNOWN_SERIAL",
    message: 'no request with serial "ab-2" waits or runs',
  });
});
