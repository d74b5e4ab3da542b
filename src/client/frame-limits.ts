/** Whether what a program wants to say can be said, and how that is told where it cannot. */
import { frameBytesMax } from "../limits.ts";
import { JsonError } from "../protocol/json.ts";
import { TooLongError } from "../protocol/json-encode.ts";
import { TaskEngineError } from "./errors.ts";

const uncountedLengthMax = 1024;

/** That a frame has; of a short one its characters, since to count its bytes takes longer than to send it. */
export const bytesOfFrame = (frame: string): number =>
  frame.length <= uncountedLengthMax ? frame.length : Buffer.byteLength(frame);

/** bytes. Throws TaskEngineError where a frame is too large: the engine would cut the connection for it, and other requests with it. */
export const bytesOfRequest = (frames: readonly string[]): number => {
  let bytes = 0;
  for (const frame of frames) {
    const length = bytesOfFrame(frame);
    if (length > frameBytesMax) {
      throw new TaskEngineError("TOO_LARGE", `the request has ${length} bytes, the limit is ${frameBytesMax}`);
    }
    bytes += length;
  }
  return bytes;
};

/** "TASK.args[0] is NaN…": the frame is our affair, the path below it the caller's. */
export const unsayable = (error: JsonError): TaskEngineError =>
  new TaskEngineError(
    error instanceof TooLongError ? "TOO_LARGE" : "BAD_ARGS",
    error.message.replace(/^(TASK|DATA)\./, ""),
  );

/** A part of a batch, or why it cannot be one. */
export const partOf = (encode: () => string): string | TaskEngineError => {
  try {
    const frame = encode();
    const bytes = bytesOfFrame(frame);
    if (bytes <= frameBytesMax) return frame;
    return new TaskEngineError("TOO_LARGE", `the part has ${bytes} bytes, the limit is ${frameBytesMax}`);
  } catch (error) {
    return error instanceof JsonError ? unsayable(error) : new TaskEngineError("BAD_ARGS", String(error));
  }
};
