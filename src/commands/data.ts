/**
 * `data put TOPIC VALUE` publishes a value on a topic, `data get TOPIC` prints the last one,
 * `data watch [TOPIC…]` prints the last value of each topic and then every later one, `data list`
 * shows the topics, and `data rm TOPIC` removes one.
 *
 * `put` waits for the data worker's acknowledgement. With `--type` VALUE is a file, `-` for stdin,
 * whose bytes are published as they are. Else values are JSON if they are JSON, or else strings.
 * The data workers' endpoints come from CONTROL `tasks`; the values go straight to them. TOPIC of
 * `watch` is the beginning of topics' names.
 *
 * `put` and `rm` print nothing; `get` prints a string as it is, bytes as they are, and everything
 * else as JSON; `watch` prints the topic, a space and the value as JSON, and of bytes their type
 * and number; with `--json` both print `{"topic": …, "data": …, "pack": …}`.
 *
 * With `--nats` both ask a fleet for what a robot mirrors to it (link/LINK.md); a TOPIC of `watch`
 * is a whole name then, or with a `/` or `.` at its end the beginning of names.
 *
 * Exits with 0, `watch` on Ctrl-C or SIGTERM or when its reader has gone; 1 if the engine refused
 * (an unknown topic); 2 for wrong usage; 3 if there is no engine or no answer in time.
 */
import type { SubscribeOptions, TopicListing, TopicValue } from "../client/client.ts";
import { dataBytesMaxMax, historyMsMax, linkMirrorTopicsMax, maxHzMax } from "../limits.ts";
import { warn } from "../process/log.ts";
import { printable } from "../process/streams.ts";
import { TaskEngineError } from "../protocol/errors.ts";
import { isContentType } from "../protocol/values.ts";
import { defineCommand, UsageError } from "./command.ts";
import { endRequested, engineArgs, withEngine } from "./engine.ts";
import { type FleetFlags, fleetArgs, isForFleet, robotFrom, withNats } from "./fleet.ts";
import { printBytes, printResult, stdoutClosed } from "./output.ts";
import { durationFrom, fileFrom, nameFrom, plainText, valueFrom } from "./values.ts";

const topicArg = { type: "positional", required: true, description: "Name of the topic" } as const;

const putCommand = defineCommand({
  meta: { name: "put", description: "Publish a value on a topic" },
  args: {
    topic: topicArg,
    value: {
      type: "positional",
      required: true,
      description: "JSON where it is JSON, or else a string; with --type a file, - for stdin",
    },
    type: { type: "string", valueHint: "type", description: "Content type of the file's bytes, such as image/jpeg" },
    ...engineArgs,
  },
  run: async ({ args }) => {
    const topic = nameFrom(args.topic, "TOPIC");
    const { type: contentType } = args;
    if (contentType === undefined) {
      const value = valueFrom(args.value, "VALUE");
      return void (await withEngine(args, (engine) => engine.publish(topic, value, { confirm: true })));
    }
    if (!isContentType(contentType)) throw new UsageError(`--type ${contentType} is not of the form image/jpeg`);
    const bytes = await fileFrom(args.value, dataBytesMaxMax);
    await withEngine(args, (engine) => engine.publish(topic, bytes, { contentType, confirm: true }));
  },
});

const jsonFlag = {
  type: "boolean",
  description: "Print JSON with topic, data and pack (the time, in seconds)",
} as const;

const lastFlag = {
  type: "string",
  valueHint: "duration",
  description: "The values of the last so many ms, or 10s, 2m",
} as const;

const getCommand = defineCommand({
  meta: { name: "get", description: "Print the last value of a topic" },
  args: { topic: topicArg, last: lastFlag, ...engineArgs, ...fleetArgs, json: jsonFlag },
  run: async ({ args }) => {
    const topic = nameFrom(args.topic, "TOPIC");
    const show = args.json ? (value: TopicValue) => printResult(JSON.stringify(value)) : printValue;
    if (isForFleet(args)) {
      refuseWithNats(args, "last");
      const robot = await robotFrom(args);
      const { getMirrored } = await import("../client/fleet-data.ts");
      return show(await withNats(args, (nats) => getMirrored(nats, robot, topic)));
    }
    if (args.last === undefined) return show(await withEngine(args, (engine) => engine.get(topic)));
    const lastMs = durationFrom(args.last, "--last", historyMsMax);
    const values = await withEngine(args, (engine) => engine.history(topic, { lastMs }));
    for (const value of values) await (args.json ? show(value) : printResult(lineOf(value)));
  },
});

/** Throws UsageError for a flag that the bucket of a fleet has nothing for. */
const refuseWithNats = (flags: Readonly<Record<string, unknown>>, ...names: readonly string[]): void => {
  const given = names.find((name) => flags[name] !== undefined);
  if (given !== undefined) throw new UsageError(`--${given} does not go with --nats`);
};

/** A value by itself: bytes as they are, which a terminal must not get. */
const printValue = async ({ data, topic, contentType }: TopicValue): Promise<void> => {
  if (!(data instanceof Uint8Array)) return printResult(plainText(data));
  await printBytes(data, `${printable(topic)} is ${contentType}`);
};

/** Without the topic: the value as JSON. */
const lineOf = ({ data, contentType }: TopicValue): string =>
  data instanceof Uint8Array ? `(${printable(contentType ?? "")}, ${data.length} bytes)` : JSON.stringify(data);

const watchCommand = defineCommand({
  meta: { name: "watch", description: "Print the values of topics as they come" },
  args: {
    "topics...": { type: "positional", required: false, description: "Beginnings of topics (default: all)" },
    latest: { type: "boolean", description: "Of each topic only the newest value, if the reader is slow" },
    "max-hz": { type: "string", valueHint: "number", description: "Of each topic at most so many values a second" },
    last: { ...lastFlag, description: "Begin with the values of the last so many ms, or 10s, 2m" },
    ...engineArgs,
    ...fleetArgs,
    json: jsonFlag,
  },
  run: async ({ args }) => {
    const show = args.json
      ? (value: TopicValue): string => JSON.stringify(value)
      : (value: TopicValue): string => `${printable(value.topic)} ${lineOf(value)}`;
    const topics = args._.map((topic) => nameFrom(topic, "TOPIC"));
    if (isForFleet(args)) {
      refuseWithNats(args, "latest", "max-hz", "last");
      return watchRobot(args, topics, show);
    }
    const options: SubscribeOptions = {
      mode: args.latest ? "latest" : "all",
      maxHz: args["max-hz"] === undefined ? undefined : hzFrom(args["max-hz"]),
      lastMs: args.last === undefined ? 0 : durationFrom(args.last, "--last", historyMsMax),
    };
    await withEngine(args, async (engine) => {
      await using subscription = engine.subscribe(topics, options);
      const printAll = async (): Promise<void> => {
        for await (const value of subscription) await printResult(show(value));
      };
      // A reader that has stopped reading blocks the printing, but must not block the end.
      await Promise.race([printAll(), endRequested(), stdoutClosed]);
    });
  },
});

const watchRobot = async (
  flags: FleetFlags,
  topics: readonly string[],
  show: (value: TopicValue) => string,
): Promise<void> => {
  const robot = await robotFrom(flags);
  const { watchMirrored } = await import("../client/fleet-data.ts");
  await withNats(flags, async (nats) => {
    // A slow reader gets what is newest of each topic when it reads on.
    const waiting = new Map<string, TopicValue>();
    let { promise: some, resolve: wake } = Promise.withResolvers<void>();
    const isAny = await watchMirrored(nats, robot, topics, (value) => {
      const [oldest = ""] = waiting.keys();
      waiting.delete(waiting.size < linkMirrorTopicsMax ? value.topic : oldest);
      waiting.set(value.topic, value);
      wake();
    });
    if (!isAny)
      warn(`task-engine: nothing of that has come from ${robot} yet; \`mirror\` of its [link] names what it sends`);
    const printAll = async (): Promise<void> => {
      for (;;) {
        await some;
        ({ promise: some, resolve: wake } = Promise.withResolvers<void>());
        for (const [topic, value] of waiting) {
          waiting.delete(topic);
          await printResult(show(value));
        }
      }
    };
    const lost = nats.closed().then((error) => {
      throw new TaskEngineError("NO_ANSWER", `the connection to NATS has ended: ${error?.message ?? "closed"}`);
    });
    await Promise.race([printAll(), endRequested(), stdoutClosed, lost]);
  });
};

const hzFrom = (text: string): number => {
  const hz = Number(text);
  if (text.trim() !== "" && hz > 0 && hz <= maxHzMax) return hz;
  throw new UsageError(`--max-hz ${JSON.stringify(text)} is not a number above 0 and up to ${maxHzMax}`);
};

const listCommand = defineCommand({
  meta: { name: "list", description: "Show the topics that have values" },
  args: {
    prefix: { type: "positional", required: false, description: "Beginning of topics (default: all)" },
    ...engineArgs,
    json: { type: "boolean", description: "Print a line of JSON for each topic" },
  },
  run: async ({ args }) => {
    const topics = await withEngine(args, (engine) => engine.topics(args.prefix));
    for (const topic of topics) await printResult(args.json ? JSON.stringify(topic) : describe(topic));
  },
});

/** One line on a topic: `camera  image/jpeg  30.0 Hz  0.0 s ago  48213 bytes`. */
const describe = ({ topic, contentType, hz, ageMs, bytes, dropped, stale }: TopicListing): string =>
  [
    printable(topic),
    printable(contentType ?? ""),
    hz === null ? "" : `${hz.toFixed(1)} Hz`,
    ageMs === null ? "" : `${(ageMs / 1000).toFixed(1)} s ago${stale ? " (stale)" : ""}`,
    bytes === null ? "" : `${bytes} bytes`,
    dropped ? `${dropped} dropped` : "",
  ]
    .filter((part) => part !== "")
    .join("  ");

const rmCommand = defineCommand({
  meta: { name: "rm", description: "Remove a topic and its values" },
  args: { topic: topicArg, ...engineArgs },
  run: async ({ args }) => {
    const topic = nameFrom(args.topic, "TOPIC");
    await withEngine(args, (engine) => engine.remove(topic));
  },
});

export const dataCommand = defineCommand({
  meta: { name: "data", description: "Publish, read and follow data" },
  subCommands: { put: putCommand, get: getCommand, watch: watchCommand, list: listCommand, rm: rmCommand },
});
