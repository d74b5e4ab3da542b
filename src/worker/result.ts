/** What leaves a task, as the text of DATA frames: its result, its progress, what it publishes. */
import { frameBytesMax } from "../limits.ts";
import { packNow } from "../wire/frames.ts";
import { JsonError, jsonText } from "../wire/json.ts";

/**
 * The DATA frame `{data, pack}` of a value from user code. `name` is what the value is called in an error: `result` makes
 * `result.speed is NaN, …`. Throws JsonError for what JSON cannot say and for a frame above `frameBytesMax`.
 */
export const dataFrame = (value: unknown, name: string): string => {
  // JSON leaves a property that is undefined out, and then this would be a frame without data.
  if (value === undefined) throw new JsonError(`${name} is undefined, which JSON cannot say`);
  const frame = encodeNamed(value, name);
  const bytes = Buffer.byteLength(frame);
  if (bytes > frameBytesMax) {
    throw new JsonError(`${name} makes a frame of ${bytes} bytes, the limit is ${frameBytesMax}`);
  }
  return frame;
};

/** The wire speaks of frames, and who wrote the task of what it returned. */
const encodeNamed = (value: unknown, name: string): string => {
  try {
    return jsonText({ data: value, pack: packNow() }, "DATA");
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    throw new JsonError(error.message.replace(/^DATA\.data/, name));
  }
};
