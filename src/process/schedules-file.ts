/** The tables `[[schedule]]` in the file of settings. */
import * as v from "valibot";
import { schedulesMax } from "../limits.ts";
import { taskName } from "../protocol/frames.ts";
import { isJsonObject, type Json, JsonError, type JsonObject } from "../protocol/json.ts";
import { jsonText } from "../protocol/json-encode.ts";
import { cronMistake, cronSchema, everyMsSchema, type ScheduleDefinition } from "../protocol/schedules.ts";
import type { ConfigFile } from "./config-file.ts";

const name = v.pipe(v.string("must be text"), v.regex(/^[\w.-]{1,128}$/, "must be a name of A-Z a-z 0-9 _ . -"));
const text = v.string("must be text");

const tableSchema = v.strictObject({
  name: v.exactOptional(name),
  task: name,
  args: v.exactOptional(v.custom<unknown[]>(Array.isArray, "must be a list"), []),
  kwargs: v.exactOptional(v.custom<object>(isJsonObject, "must be a table"), {}),
  cron: v.exactOptional(text),
  zone: v.exactOptional(text),
  misfire: v.exactOptional(v.picklist(["skip", "once"], 'must be "skip" or "once"')),
  "every-ms": v.exactOptional(everyMsSchema()),
});

/** Adds a line to `mistakes` for each mistake, with its place. */
export const schedulesIn = ({ table, path }: ConfigFile, mistakes: string[]): readonly ScheduleDefinition[] => {
  const given: unknown = Object.hasOwn(table, "schedule") ? table.schedule : [];
  if (!Array.isArray(given)) {
    mistakes.push(`${path}: schedule: must be a list of tables, each under [[schedule]]`);
    return [];
  }
  if (given.length > schedulesMax) mistakes.push(`${path}: schedule: more than ${schedulesMax} schedules`);
  const schedules: ScheduleDefinition[] = [];
  for (const [index, entry] of given.entries()) {
    const place = `${path}: schedule ${index + 1}`;
    const schedule = scheduleOf(entry);
    if (typeof schedule === "string") mistakes.push(`${place}: ${schedule}`);
    else if (schedules.some(({ name }) => name === schedule.name)) {
      mistakes.push(`${place}: the name ${schedule.name} stands twice; give one of them another \`name\``);
    } else schedules.push(schedule);
  }
  return schedules;
};

/**
 * Returns what is wrong with the schedule of a task of another language, in one phrase; null if
 * nothing is.
 */
export const scheduleMistake = (schedule: unknown): string | null => {
  const result = v.safeParse(cronSchema(), schedule);
  return result.success ? null : result.issues[0].message;
};

/** Returns what is wrong, in one phrase, for a table that is no schedule. */
const scheduleOf = (entry: unknown): ScheduleDefinition | string => {
  const result = v.safeParse(tableSchema, entry, { abortEarly: true });
  if (!result.success) {
    const [issue] = result.issues;
    const key = v.getDotPath(issue) ?? "it";
    const isUnknown = issue.type === "strict_object" && issue.expected === "never";
    const isMissing = issue.type === "strict_object" && issue.received === "undefined";
    if (isUnknown) return `has the key ${key}, which is not one of ${Object.keys(tableSchema.entries).join(", ")}`;
    return isMissing ? `has no ${key}` : `${key} ${issue.message}`;
  }
  const { args, kwargs, cron, zone, misfire, "every-ms": everyMs } = result.output;
  const task = taskName(result.output.task);
  const { name = task } = result.output;
  const unsendable = jsonMistake(args, "args") ?? jsonMistake(kwargs, "kwargs");
  if (unsendable !== null) return unsendable;
  const base = { name, task, args: args as Json[], kwargs: kwargs as JsonObject };
  if (everyMs !== undefined) {
    if (cron !== undefined) return "has both cron and every-ms; remove one";
    if (zone !== undefined || misfire !== undefined) return "has zone or misfire, which go with cron alone";
    return { ...base, when: { everyMs } };
  }
  if (cron === undefined) return "has neither cron nor every-ms";
  const when = { cron, zone, misfire };
  const mistake = cronMistake(when);
  return mistake === null ? { ...base, when } : `cron = ${JSON.stringify(cron)}: ${mistake}`;
};

/** TOML has what JSON cannot express: dates, infinity. */
const jsonMistake = (value: unknown, name: string): string | null => {
  try {
    jsonText(value, name);
    return null;
  } catch (error) {
    if (error instanceof JsonError) return error.message;
    throw error;
  }
};
