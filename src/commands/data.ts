/**
 * `data put TOPIC VALUE` gives a value to a topic, `data get TOPIC` prints the last one, `data watch [TOPIC…]` prints each
 * topic's last value and then every later one, a line each.
 *
 * `put` sends META and DATA and waits for the data worker's acknowledgement; `get` sends CONTROL `get`; `watch` asks for
 * the data workers' endpoints by CONTROL `tasks` and subscribes there. A TOPIC of `watch` is the beginning of names.
 * On stdout: nothing for `put`; for `get` a string as it is, everything else as JSON; for `watch` the topic, a space and the
 * value as JSON; with `--json` `{"topic": …, "data": …, "pack": …}`. Values are JSON where they are JSON, or else strings.
 * Exits with 0, `watch` on Ctrl-C or SIGTERM or when its reader has gone; with 1 when the engine said no (an unknown topic),
 * 2 for wrong usage, 3 when there is no engine or no answer in time.
 */
import type { ConnectOptions, TopicValue } from "../client/client.ts";
import { printable } from "../process/streams.ts";
import { defineCommand } from "./command.ts";
import { connectionFrom, type EngineFlags, endpointFrom, engineArgs, withEngine } from "./engine.ts";
import { toldToEnd } from "./interrupt.ts";
import { printResult, stdoutClosed } from "./output.ts";
import { nameFrom, plain, valueFrom } from "./values.ts";

const connection = async (args: EngineFlags): Promise<[endpoint: string, options: ConnectOptions]> => [
  await endpointFrom(args),
  connectionFrom(args),
];

const topicFrom = (text: string): string => nameFrom(text, "TOPIC");

const putCommand = defineCommand({
  meta: { name: "put", description: "Give a value to a topic" },
  args: {
    topic: { type: "positional", required: true, description: "Name of the topic" },
    value: { type: "positional", required: true, description: "JSON where it is JSON, or else a string" },
    ...engineArgs,
  },
  run: async ({ args }) => {
    const topic = topicFrom(args.topic);
    const value = valueFrom(args.value, "VALUE");
    await withEngine(...(await connection(args)), (engine) => engine.publish(topic, value));
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
    const topic = topicFrom(args.topic);
    const value = await withEngine(...(await connection(args)), (engine) => engine.get(topic));
    await printResult(args.json ? JSON.stringify(value) : plain(value.data));
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
    const topics = args._.map(topicFrom);
    await withEngine(...(await connection(args)), async (engine) => {
      await using subscription = engine.subscribe(...topics);
      const printAll = async (): Promise<void> => {
        for await (const value of subscription) await printResult(show(value));
      };
      // A reader that has stopped reading holds up the printing, but must not hold up the end.
      await Promise.race([printAll(), toldToEnd(), stdoutClosed]);
    });
  },
});

export const dataCommand = defineCommand({
  meta: { name: "data", description: "Give, read and follow data" },
  subCommands: { put: putCommand, get: getCommand, watch: watchCommand },
});
