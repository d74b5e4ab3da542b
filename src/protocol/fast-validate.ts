/**
 * Frames that are plainly what their schemas say, recognized without valibot, whose way takes a router a seventh of its time.
 * Each function gives what valibot would, or undefined where valibot is to say what is wrong, or to look closer. A test holds
 * the two against each other.
 */
import { messageJobsMax, nameLengthMax, serialLengthMax } from "../limits.ts";
import type { Json, JsonObject } from "./json.ts";

export const isText = (value: unknown, lengthMax: number): value is string =>
  typeof value === "string" && value.length <= lengthMax;

export const plainMeta = ({ id, role, version, type, pack, serial }: JsonObject) => {
  if (!isText(id, nameLengthMax) || !isText(role, nameLengthMax) || typeof type !== "string") return undefined;
  if (typeof pack !== "number" || (typeof version !== "number" && typeof version !== "string")) return undefined;
  if (serial === undefined) return { id, role, version, type, pack };
  if (!isText(serial, serialLengthMax) || serial === "") return undefined;
  return { id, role, version, type, pack, serial };
};

/** Without `options`. */
export const plainTask = ({ task, args, kwargs, pack }: JsonObject) => {
  if (!isText(task, nameLengthMax) || task === "" || !Array.isArray(args) || typeof pack !== "number") return undefined;
  if (typeof kwargs !== "object" || kwargs === null || Array.isArray(kwargs)) return undefined;
  return { task, args, kwargs, pack };
};

/** Of an answer that is no error. */
export const plainResult = ({ data, error, pack }: JsonObject) =>
  error === undefined && data !== undefined && typeof pack === "number" ? { data, pack, error } : undefined;

/** One that has options is looked at closely. */
export const plainTaskWithoutOptions = (frame: JsonObject) =>
  frame.options === undefined ? plainTask(frame) : undefined;

const isJobId = (value: Json): value is number => Number.isSafeInteger(value) && Number(value) >= 1;
const isNumber = (value: Json): value is number => typeof value === "number";
const isString = (value: Json): value is string => typeof value === "string";

/** Without a closure for each that is looked at. */
const isListOf = <Item extends Json>(
  value: Json | undefined,
  isItem: (item: Json) => item is Item,
): value is Item[] => {
  if (!Array.isArray(value)) return false;
  for (let index = 0; index < value.length; index++) if (!isItem(value[index] as Json)) return false;
  return true;
};

const areJobIds = (value: Json | undefined): value is number[] =>
  isListOf(value, isJobId) && value.length > 0 && value.length <= messageJobsMax;

/** DONE and FAIL of which nothing is unsafe. */
export const plainAnswer = ({ type, jobs, ms, unsafe }: JsonObject) =>
  unsafe === undefined && areJobIds(jobs) && isListOf(ms, isNumber) ? { type, jobs, ms } : undefined;

/** JOBS of which none expires. */
export const plainJobs = ({ type, jobs, serials, ttlMs, at }: JsonObject) =>
  ttlMs === undefined && at === undefined && areJobIds(jobs) && isListOf(serials, isString)
    ? { type, jobs, serials }
    : undefined;
