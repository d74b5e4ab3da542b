/** What leaves a task, as the text of DATA frames: its result, its progress, what it publishes. */
import { frameBytesMax } from "../limits.ts";
import { isLonger, sizeOf } from "../protocol/frame.ts";
import { encodeValue } from "../protocol/frames.ts";
import { JsonError } from "../protocol/json.ts";

/**
 * The DATA frame `{data, pack}` of a value from user code. `name` is what the value is called in an error: `result` makes
 * `result.speed is NaN, …`. Throws JsonError for what JSON cannot say and for a frame above `frameBytesMax`.
 */
export const dataFrame = (value: unknown, name: string): string => {
  const frame = encodeValue(value, name);
  if (isLonger(frame, frameBytesMax)) {
    throw new JsonError(`${name} makes a frame of ${sizeOf(frame)} bytes, the limit is ${frameBytesMax}`);
  }
  return frame;
};
