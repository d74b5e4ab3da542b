/** Events on their way to data workers: together, in order, bounded, and never waited for. */
import { expect, test } from "bun:test";
import { eventMessagesMax, eventsLengthMax, eventsMax, messageEventsMax } from "../../src/limits.ts";
import { decodeFromRouter } from "../../src/protocol/backend.ts";
import type { RouterTopic } from "../../src/protocol/engine-topics.ts";
import { ProtocolError } from "../../src/protocol/errors.ts";
import { EventFeed } from "../../src/router/event-feed.ts";
import { asReceived } from "../support/frames.ts";

/** A feed whose messages are noted; `isThere` is false once its data worker is gone. */
const startFeed = () => {
  const messages: { key: string; topics: readonly string[]; lost: readonly number[] | undefined; bodies: string[] }[] =
    [];
  const at = { isThere: true, dropped: 0 };
  const feed = new EventFeed(
    (key, frames) => {
      if (!at.isThere) return false;
      const message = decodeFromRouter(asReceived(frames));
      if (message instanceof ProtocolError || message.header.type !== "EVENTS") throw new Error("no EVENTS");
      const { topics, lost } = message.header;
      messages.push({ key, topics, lost, bodies: message.bodies.map(String) });
      return true;
    },
    (count) => {
      at.dropped += count;
    },
  );
  const add = (body: string, topic: RouterTopic = "$engine/jobs", key = "data", lost = 0): void =>
    feed.add({ to: "event", key, topic, body, lost });
  const addMany = (count: number): void => {
    for (let number = 1; number <= count; number++) add(`${number}`);
  };
  return { feed, add, addMany, at, messages };
};

test("the events of a turn leave in one message, in their order, each data worker's in its own", () => {
  const { feed, add, messages } = startFeed();
  add("1");
  add("2", "$engine/stop");
  add("3", "$engine/jobs", "other");
  add("4", "$engine/jobs", "data", 2);
  expect(messages).toEqual([]);
  feed.flush();
  feed.flush();
  expect(messages).toEqual([
    { key: "data", topics: ["$engine/jobs", "$engine/stop", "$engine/jobs"], lost: [0, 0, 2], bodies: ["1", "2", "4"] },
    { key: "other", topics: ["$engine/jobs"], lost: undefined, bodies: ["3"] },
  ]);
});

test("a data worker gets no more messages than it confirms, each of a bounded size", () => {
  const { feed, addMany, messages } = startFeed();
  addMany(eventMessagesMax * messageEventsMax + 10);
  feed.flush();
  expect(messages.map(({ topics }) => topics.length)).toEqual(Array(eventMessagesMax).fill(messageEventsMax));
  feed.flush();
  expect(messages).toHaveLength(eventMessagesMax);
  feed.heard("data");
  expect(messages.at(-1)?.bodies).toHaveLength(10);
  expect(messages.at(-1)?.bodies.at(-1)).toBe(`${eventMessagesMax * messageEventsMax + 10}`);
  // A confirmation of nothing, and one of a stranger, allow no more.
  for (let count = 0; count < 20; count++) feed.heard("data");
  feed.heard("stranger");
  addMany(eventsMax);
  feed.flush();
  expect(messages).toHaveLength(2 * eventMessagesMax + 1);
});

test("what waits for a data worker that does not read is bounded, and the next event says what was lost", () => {
  const { feed, add, addMany, at, messages } = startFeed();
  addMany(eventMessagesMax * messageEventsMax);
  feed.flush();
  addMany(eventsMax);
  add("a");
  add("b");
  add("c", "$engine/stop");
  expect(at.dropped).toBe(3);
  feed.heard("data");
  add("d");
  add("e", "$engine/stop");
  while (messages.at(-1)?.bodies.at(-1) !== "e") feed.heard("data");
  expect(messages.flatMap(({ lost = [] }) => lost.filter((count) => count > 0))).toEqual([2, 1]);
});

test("long events are bounded by their length", () => {
  const { add, at } = startFeed();
  add("x".repeat(eventsLengthMax));
  add("y");
  expect(at.dropped).toBe(1);
});

test("a data worker that is gone keeps nothing, and all that waited for it is counted", () => {
  const { feed, addMany, at, messages } = startFeed();
  at.isThere = false;
  addMany(messageEventsMax + 5);
  feed.flush();
  expect(at.dropped).toBe(messageEventsMax + 5);
  at.isThere = true;
  addMany(eventsMax);
  feed.forget("data");
  addMany(3);
  feed.flush();
  expect([messages.length, messages[0]?.bodies, at.dropped]).toEqual([1, ["1", "2", "3"], messageEventsMax + 5]);
});
