/** The lines of a log as messages, while they are wanted. */
import { afterEach, expect, test } from "bun:test";
import { errorMessageLengthMax, logFeedLinesMax } from "../../src/limits.ts";
import { say, warn } from "../../src/process/log.ts";
import { checkedLines, LogFeed } from "../../src/process/log-feed.ts";
import { until } from "../support/connections.ts";

const startFeed = () => {
  const sent: { texts: string[]; lost: number }[] = [];
  const at = { isReady: true, tries: 0 };
  const feed = new LogFeed((lines, lost) => {
    at.tries++;
    if (at.isReady) sent.push({ texts: lines.map(({ level, text, job }) => `${level} ${text} ${job}`), lost });
    return at.isReady;
  });
  feeds.push(feed);
  return { feed, sent, at };
};
const feeds: LogFeed[] = [];
afterEach(() => {
  for (const feed of feeds.splice(0)) feed.watch(false);
});

test("only lines of the time in which they are wanted are sent, those of a moment together, as they are logged", async () => {
  const { feed, sent } = startFeed();
  say("before");
  feed.watch(true);
  say("a line\n", 7);
  warn("another");
  await until("sent", () => sent.length > 0);
  expect(sent).toEqual([{ texts: ["info a line\\x0a 7", "warn another null"], lost: 0 }]);
  feed.watch(false);
  say("after");
  feed.watch(true);
  say("last");
  await until("sent again", () => sent.length > 1);
  expect(sent[1]?.texts).toEqual(["info last null"]);
});

test("lines that cannot be sent wait within a bound, cut to theirs; the others are counted", async () => {
  const { feed, sent, at } = startFeed();
  at.isReady = false;
  feed.watch(true);
  for (let count = 0; count < logFeedLinesMax + 3; count++) say("x".repeat(2 * errorMessageLengthMax));
  await until("two tries", () => at.tries > 1);
  at.isReady = true;
  await until("sent", () => sent.length > 0);
  expect([sent[0]?.texts.length, sent[0]?.lost]).toEqual([logFeedLinesMax, 3]);
  expect(sent[0]?.texts[0]?.length).toBe("info  null".length + errorMessageLengthMax);
});

test("what a task may have written into the channel of its worker is taken only if it is made of lines", () => {
  const line = { at: 1, level: "info", text: "hello", job: null } as const;
  const wrong = [null, 1, {}, { ...line, text: "x".repeat(5000) }, { ...line, level: "x" }, { ...line, job: "1" }];
  expect(checkedLines([line, ...wrong, { ...line, job: 7 }])).toEqual([line, { ...line, job: 7 }]);
  expect(checkedLines("lines")).toEqual([]);
  expect(checkedLines(Array(10_000).fill(line))).toHaveLength(logFeedLinesMax);
});
