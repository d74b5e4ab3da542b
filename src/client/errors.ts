/** The checks of a request before it is sent. */
import { frameBytesMax } from "../limits.ts";
import { TaskEngineError } from "../protocol/errors.ts";
import { JsonError } from "../protocol/json.ts";
import { TooLongError } from "../protocol/json-encode.ts";

const uncountedLengthMax = 1024;

/**
 * bytes of a frame; of a short one its characters, since to count its bytes takes longer than to
 * send it.
 */
export const bytesOfFrame = (frame: string): number =>
  frame.length <= uncountedLengthMax ? frame.length : Buffer.byteLength(frame);

/**
 * bytes. Throws TaskEngineError for a frame that is too large: the engine would cut the connection,
 * and other requests with it.
 */
export const bytesOfRequest = (frames: readonly string[]): number => {
  let bytes = 0;
  for (const frame of frames) bytes += checkedBytes(frame, "request");
  return bytes;
};

const checkedBytes = (frame: string, what: string): number => {
  const bytes = bytesOfFrame(frame);
  if (bytes <= frameBytesMax) return bytes;
  throw new TaskEngineError("TOO_LARGE", `the ${what} has ${bytes} bytes, the limit is ${frameBytesMax}`);
};

/** "TASK.args[0] is NaN…": the path is the caller's, and the name of the frame before it is not. */
export const encodingError = (error: unknown): unknown =>
  error instanceof JsonError
    ? new TaskEngineError(
        error instanceof TooLongError ? "TOO_LARGE" : "BAD_ARGS",
        error.message.replace(/^(TASK|DATA)\./, ""),
      )
    : error;

/** The frame of a batch's part, or the reason why it cannot be sent. */
export const encodePart = (encode: () => string): string | TaskEngineError => {
  try {
    const frame = encode();
    checkedBytes(frame, "part");
    return frame;
  } catch (thrown) {
    const error = encodingError(thrown);
    return error instanceof TaskEngineError ? error : new TaskEngineError("BAD_ARGS", String(error));
  }
};
