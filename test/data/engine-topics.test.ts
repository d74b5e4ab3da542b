import { expect, test } from "bun:test";
import { EngineTopics } from "../../src/data/engine-topics.ts";
import { engineTopics } from "../../src/protocol/engine-topics.ts";

const startTopics = () => {
  const changes: string[][] = [];
  const topics = new EngineTopics((watched) => changes.push(watched.map((topic) => topic.replace("$engine/", ""))));
  return { topics, changes };
};

test("a topic is watched from its first subscription to the end of its last one, whoever has them", () => {
  const { topics, changes } = startTopics();
  topics.begin("a", "$engine/jobs");
  topics.begin("a", "$engine/jobs");
  topics.begin("b", "$engine/jobs");
  topics.begin("b", "$engine/stop");
  topics.end("a", "$engine/jobs");
  topics.end("a", "$engine/jobs");
  topics.end("c", "$engine/stop");
  expect(changes).toEqual([["jobs"], ["jobs", "stop"]]);
  topics.gone("b");
  topics.gone("b");
  expect(changes.slice(2)).toEqual([[]]);
  expect(topics.watched).toEqual([]);
});

test("a beginning of names watches all topics that begin so", () => {
  for (const [prefix, expected] of [
    ["$", engineTopics],
    ["$engine/", engineTopics],
    ["$engine/s", ["$engine/stop", "$engine/schedules"]],
    ["$engine/jobs/x", []],
  ] as const) {
    const { topics } = startTopics();
    topics.begin("a", prefix);
    expect([...topics.watched]).toEqual([...expected]);
  }
});

test("the empty beginning, the list of topics and the topics of programs watch nothing", () => {
  const { topics, changes } = startTopics();
  for (const prefix of ["", "$topics", "arm/", "engine/jobs", "\0"]) topics.begin("a", prefix);
  expect(changes).toEqual([]);
});
