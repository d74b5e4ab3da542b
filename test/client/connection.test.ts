/** What becomes of requests when the connection is lost, and when there is one again. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { connect, type Json } from "task-engine";
import { batchTasksMax, clientBatchesMax, drainMessagesMax } from "../../src/limits.ts";
import { errno, ZmqError } from "../../src/transport/zmq/library.ts";
import { argsOf, argsOfAll, type HandRouter, handRouter, untilFree } from "../support/hand-router.ts";
import { rejection } from "../support/rejection.ts";

setDefaultTimeout(60_000); // on a busy machine

const lostMessage = ({ endpoint }: HandRouter): string =>
  `the connection to ${endpoint} was lost before the answer came: the job may have been running`;

/** Lets libzmq do its work while nothing of ours runs, so that nothing is read of what comes. */
const whileNobodyReads = (ms: number): void => Bun.sleepSync(ms);

for (const way of ["over ZeroMQ", "past libzmq"]) {
  const isLocal = way === "past libzmq";
  /** As `untilFree`, with nothing of ours in between. */
  const againAt = (endpoint: string): HandRouter => {
    for (;;) {
      try {
        return handRouter(endpoint, isLocal);
      } catch (error) {
        if (!(error instanceof ZmqError) || error.code !== errno.EADDRINUSE) throw error;
        whileNobodyReads(5);
      }
    }
  };

  test(`what was sent and not answered is INTERRUPTED as soon as the connection is lost (${way})`, async () => {
    const router = handRouter(undefined, isLocal);
    await using client = connect(router.endpoint);
    const failures = [1, 2, 3].map((value) => rejection(client.call("drive", [value], {}, { waitMs: 600_000 })));
    for (const _ of failures) await router.next();
    router[Symbol.dispose]();
    for (const failure of failures) {
      expect(await failure).toMatchObject({ code: "INTERRUPTED", message: lostMessage(router) });
    }
  });

  test(`the connection is made again, as often as it is lost, and nothing of before goes by the next one (${way})`, async () => {
    let router = handRouter(undefined, isLocal);
    const { endpoint } = router;
    await using client = connect(endpoint);
    for (let round = 0; round < 4; round++) {
      const done = client.call("drive", [round, "done"]);
      const first = await router.next();
      expect(argsOf(first)).toEqual([round, "done"]);
      first.ack(round);
      expect(await done).toBe(round);
      const lost = rejection(client.call("drive", [round, "lost"]));
      await router.next();
      router[Symbol.dispose]();
      expect((await lost).code).toBe("INTERRUPTED");
      router = await untilFree(() => handRouter(endpoint, isLocal));
    }
    router[Symbol.dispose]();
  });

  test(`an answer that came before the connection was lost counts, even if it is read later (${way})`, async () => {
    const router = handRouter(undefined, isLocal);
    await using client = connect(router.endpoint);
    const answered = client.call("drive", ["answered"]);
    const unanswered = rejection(client.call("drive", ["unanswered"]));
    const arrived = await router.next();
    await router.next();
    arrived.ack("there");
    whileNobodyReads(50);
    router[Symbol.dispose]();
    whileNobodyReads(100);
    expect(await answered).toBe("there");
    expect((await unanswered).code).toBe("INTERRUPTED");
  });

  test(`what is asked before the loss has been read goes by the next connection, and is not INTERRUPTED (${way})`, async () => {
    const router = handRouter(undefined, isLocal);
    await using client = connect(router.endpoint);
    const lost = rejection(client.call("drive", ["lost"]));
    await router.next();
    router[Symbol.dispose]();
    whileNobodyReads(20);
    using next = againAt(router.endpoint);
    // libzmq has connected anew by then, by itself, and would take messages.
    whileNobodyReads(300);
    const fresh = client.call("drive", ["fresh"]);
    const arrived = await next.next();
    expect(argsOf(arrived)).toEqual(["fresh"]);
    arrived.ack("there");
    expect(await fresh).toBe("there");
    expect((await lost).code).toBe("INTERRUPTED");
  });

  test(`what is asked while anything is unread goes out once that is read, also if it was just as much as is read in one go (${way})`, async () => {
    using router = handRouter(undefined, isLocal);
    await using client = connect(router.endpoint);
    const answered = Promise.all(Array.from({ length: drainMessagesMax }, () => client.call("drive")));
    const arrived = [];
    while (arrived.length < drainMessagesMax) arrived.push(await router.next());
    for (const one of arrived) one.ack(null);
    whileNobodyReads(100);
    const fresh = client.call("drive", ["fresh"], {}, { waitMs: 3_000 });
    await answered;
    (await router.next()).ack("there");
    expect(await fresh).toBe("there");
  });

  test(`what waits for a connection survives that one is lost, in its order (${way})`, async () => {
    const router = handRouter(undefined, isLocal);
    const { endpoint } = router;
    await using client = connect(endpoint);
    const lost = rejection(client.call("drive", ["lost"]));
    await router.next();
    router[Symbol.dispose]();
    await lost;
    const results = Promise.all([1, 2, 3].map((value) => client.call("drive", [value])));
    using next = await untilFree(() => handRouter(endpoint, isLocal));
    for (const value of [1, 2, 3]) {
      const arrived = await next.next();
      expect(argsOf(arrived)).toEqual([value]);
      arrived.ack(value);
    }
    expect(await results).toEqual([1, 2, 3]);
  });

  test(`a job that is kept alive is so no more once the connection is lost (${way})`, async () => {
    const router = handRouter(undefined, isLocal);
    const { endpoint } = router;
    await using client = connect(endpoint);
    const lost = rejection(client.call("drive", [], {}, { deadmanMs: 50 }));
    await router.next();
    router[Symbol.dispose]();
    await lost;
    using next = await untilFree(() => handRouter(endpoint, isLocal));
    const fresh = client.call("drive", ["fresh"]);
    const arrived = await next.next();
    await Bun.sleep(100);
    expect(next.hasMore).toBe(false);
    arrived.ack(null);
    await fresh;
  });

  test(`of a batch the messages that were sent are INTERRUPTED, and the rest goes on by the next connection (${way})`, async () => {
    const router = handRouter(undefined, isLocal);
    const { endpoint } = router;
    await using client = connect(endpoint);
    const inFlight = clientBatchesMax * batchTasksMax;
    const results = client.map(
      "drive",
      Array.from({ length: inFlight + 2 }, (_, index) => [index]),
    );
    for (let count = 0; count < clientBatchesMax; count++) await router.next();
    router[Symbol.dispose]();
    using next = await untilFree(() => handRouter(endpoint, isLocal));
    const arrived = await next.next();
    const rest = argsOfAll(arrived).map(([value]): Json => value ?? null);
    expect(rest).toEqual([inFlight, inFlight + 1]);
    arrived.ackAll(rest.map((data) => ({ data })));
    const settled = await results;
    expect(new Set(settled.slice(0, inFlight).map(({ error }) => error?.code))).toEqual(new Set(["INTERRUPTED"]));
    expect(settled.slice(inFlight)).toEqual([{ data: inFlight }, { data: inFlight + 1 }]);
  });

  test(`a subscription that has lost its way to the engine before it knew the data workers ends with that (${way})`, async () => {
    const router = handRouter(undefined, isLocal);
    await using client = connect(router.endpoint);
    const subscription = client.subscribe("pose");
    const reading = rejection(subscription.next());
    await router.next();
    router[Symbol.dispose]();
    expect((await reading).code).toBe("INTERRUPTED");
    expect(await subscription.next()).toEqual({ done: true, value: undefined });
  });
}
