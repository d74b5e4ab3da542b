import { beforeEach, describe, expect, test } from "bun:test";
import { beatSilenceMs } from "../../src/limits.ts";
import type { RouterHeader } from "../../src/protocol/backend.ts";
import { ownerOf } from "../../src/protocol/owner.ts";
import { BrokerBench } from "../support/broker-bench.ts";

let bench: BrokerBench;
beforeEach(() => {
  bench = new BrokerBench();
});

const endpoints = ["tcp://127.0.0.1:10002", "tcp://127.0.0.1:10003"] as const;
const join = (key: "d1" | "d2"): void => {
  const index = key === "d1" ? 0 : 1;
  bench.ready(key, [], { role: "data", id: `DATA-${index}`, pid: 20 + index, endpoint: endpoints[index] });
};
/** Topics of the second data worker, while both are there. */
const names = Array.from({ length: 40 }, (_, index) => `topic${index}`);
const ofSecond = names.filter((name) => ownerOf(name, endpoints) === endpoints[1]);

const last = <Type extends RouterHeader["type"]>(key: string, type: Type) =>
  bench.headersOf(key).findLast((header): header is Extract<RouterHeader, { type: Type }> => header.type === type);

describe("data workers", () => {
  test("that share topics hear who they are at each change, and one that is alone hears nothing", () => {
    join("d1");
    expect(last("d1", "OWNERS")).toBeUndefined();
    join("d2");
    for (const key of ["d1", "d2"]) {
      expect(last(key, "OWNERS")?.workers.map(({ publications }) => publications)).toEqual([...endpoints]);
    }
    bench.handle({ type: "disconnected", key: "d2" });
    expect(last("d1", "OWNERS")?.workers.map(({ publications }) => publications)).toEqual([endpoints[0]]);
    join("d2");
    bench.say("d2", { type: "LEAVE" });
    expect(last("d1", "OWNERS")?.workers.map(({ publications }) => publications)).toEqual([endpoints[0]]);
    expect(last("d2", "GOODBYE")).toBeDefined();
  });

  test("are named to a worker that has asked, then at each change, and to no other one", () => {
    bench.ready("w1", ["a"]);
    bench.ready("w2", ["a"]);
    bench.say("w1", { type: "OWNERS" });
    expect(last("w1", "OWNERS")?.workers).toEqual([]);
    join("d1");
    expect(last("w1", "OWNERS")?.workers.map(({ publications }) => publications)).toEqual([endpoints[0]]);
    join("d2");
    expect(last("w1", "OWNERS")?.workers.map(({ publications }) => publications)).toEqual([...endpoints]);
    expect(last("w2", "OWNERS")).toBeUndefined();
  });

  test("that are gone keep no topics: what comes, and what waits, goes to those that are there", () => {
    join("d1");
    join("d2");
    const [topic = "", other = ""] = ofSecond;
    bench.handle({ type: "disconnected", key: "d2" });
    bench.put("a", topic, 1);
    expect(bench.jobsOf("d1")).toEqual([1]);
    bench.done("d1", 1);
    bench.handle({ type: "disconnected", key: "d1" });
    // Now that nobody is there, it waits for its usual owner, and the other one gets it.
    bench.put("b", other, 2);
    join("d1");
    expect(bench.jobsOf("d1")).toContain(2);
  });

  test("hear of the topics that sources must keep fresh, also once the source worker has died", () => {
    const sources = [
      { name: "gyro", topic: "arm/gyro", everyMs: 10, staleMs: 50 },
      { name: "slow", topic: "slow", everyMs: 1_000 },
    ];
    join("d1");
    bench.ready("s", [], { role: "source", id: "SOURCE-1", sources });
    const topics = [{ topic: "arm/gyro", staleMs: 50 }];
    expect(last("d1", "STALENESS")?.topics).toEqual(topics);
    bench.handle({ type: "disconnected", key: "s" });
    bench.now += beatSilenceMs;
    join("d2");
    expect(last("d2", "STALENESS")?.topics).toEqual(topics);
  });

  test("forget the topics of a source worker that leaves, as at a reload, and of no other one", () => {
    const sources = (topic: string) => [{ name: topic, topic, everyMs: 10, staleMs: 50 }];
    const staleness = () => last("d1", "STALENESS")?.topics.map(({ topic }) => topic);
    join("d1");
    bench.ready("s", [], { role: "source", id: "SOURCE-1", sources: sources("gyro") });
    bench.ready("py", [], { role: "source", id: "SOURCE-2", language: "python", sources: sources("lidar") });
    expect(staleness()).toEqual(["gyro", "lidar"]);
    // The next one is there before the last one goes.
    bench.ready("s2", [], { role: "source", id: "SOURCE-3", sources: sources("sonar") });
    bench.say("s", { type: "LEAVE" });
    expect(staleness()).toEqual(["sonar", "lidar"]);
    bench.handle({ type: "disconnected", key: "py" });
    bench.now += beatSilenceMs;
    bench.say("s2", { type: "LEAVE" });
    expect(staleness()).toEqual(["lidar"]);
  });
});
