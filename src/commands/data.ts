/**
 * `data put TOPIC VALUE` publishes a value on a topic, `data get TOPIC` prints the last one, and
 * `data watch [TOPIC…]` prints the last value of each topic and then every later one, a line each.
 *
 * `put` sends META and DATA and waits for the data worker's acknowledgement. `get` sends CONTROL
 * `get`. `watch` asks for the data workers' endpoints by CONTROL `tasks` and subscribes there; its
 * TOPIC is the beginning of topics' names. Values are JSON if they are JSON, or else strings.
 *
 * `put` prints nothing; `get` prints a string as it is and everything else as JSON; `watch` prints
 * the topic, a space and the value as JSON; with `--json` both print
 * `{"topic": …, "data": …, "pack": …}`.
 *
 * Exits with 0, `watch` on Ctrl-C or SIGTERM or when its reader has gone; 1 if the engine refused
 * (an unknown topic); 2 for wrong usage; 3 if there is no engine or no answer in time.
 */
import type { TopicValue } from "../client/client.ts";
import { printable } from "../process/streams.ts";
import { defineCommand } from "./command.ts";
import { endRequested, engineArgs, withEngine } from "./engine.ts";
import { printResult, stdoutClosed } from "./output.ts";
import { nameFrom, plainText, valueFrom } from "./values.ts";

const putCommand = defineCommand({
  meta: { name: "put", description: "Publish a value on a topic" },
  args: {
    topic: { type: "positional", required: true, description: "Name of the topic" },
    value: { type: "positional", required: true, description: "JSON where it is JSON, or else a string" },
    ...engineArgs,
  },
  run: async ({ args }) => {
    const topic = nameFrom(args.topic, "TOPIC");
    const value = valueFrom(args.value, "VALUE");
    await withEngine(args, (engine) => engine.publish(topic, value));
  },
});

const jsonFlag = {
  type: "boolean",
  description: "Print JSON with topic, data and pack (the time, in seconds)",
} as const;

const getCommand = defineCommand({
  meta: { name: "get", description: "Print the last value of a topic" },
  args: {
    topic: { type: "positional", required: true, description: "Name of the topic" },
    ...engineArgs,
    json: jsonFlag,
  },
  run: async ({ args }) => {
    const topic = nameFrom(args.topic, "TOPIC");
    const value = await withEngine(args, (engine) => engine.get(topic));
    await printResult(args.json ? JSON.stringify(value) : plainText(value.data));
  },
});

const watchCommand = defineCommand({
  meta: { name: "watch", description: "Print the values of topics as they come" },
  args: {
    "topics...": { type: "positional", required: false, description: "Beginnings of topics (default: all)" },
    ...engineArgs,
    json: jsonFlag,
  },
  run: async ({ args }) => {
    const show = args.json
      ? (value: TopicValue): string => JSON.stringify(value)
      : ({ topic, data }: TopicValue): string => `${printable(topic)} ${JSON.stringify(data)}`;
    const topics = args._.map((topic) => nameFrom(topic, "TOPIC"));
    await withEngine(args, async (engine) => {
      await using subscription = engine.subscribe(...topics);
      const printAll = async (): Promise<void> => {
        for await (const value of subscription) await printResult(show(value));
      };
      // A reader that has stopped reading blocks the printing, but must not block the end.
      await Promise.race([printAll(), endRequested(), stdoutClosed]);
    });
  },
});

export const dataCommand = defineCommand({
  meta: { name: "data", description: "Publish, read and follow data" },
  subCommands: { put: putCommand, get: getCommand, watch: watchCommand },
});
