/** The body of a request, within its bounds of size and time. */
import { gatewayBodyMs, gatewayJsonBytesMax } from "../limits.ts";
import { isJsonObject, type JsonObject } from "../protocol/json.ts";
import { HttpError } from "./errors.ts";

/** Reads at most `bytesMax` bytes. A sender that takes longer than `gatewayBodyMs` is given up. */
export const bytesOf = async (request: Request, bytesMax: number): Promise<Uint8Array> => {
  checkLength(request, bytesMax);
  const bytes = await within(request.bytes());
  if (bytes.length > bytesMax) throw tooLarge(bytes.length, bytesMax);
  return bytes;
};

/**
 * The JSON object of a body, `{}` where there is none. A form of another site's page cannot have
 * this type, so that a browser asks first whether such a request is allowed.
 */
export const objectOf = async (request: Request): Promise<JsonObject> => {
  const type = request.headers.get("content-type");
  if (type === null && request.headers.get("content-length") === "0") return {};
  if (type === null && request.body === null) return {};
  if (type === null || !isJson(type)) {
    throw new HttpError("BAD_FRAME", "the body must be JSON, with `Content-Type: application/json`");
  }
  checkLength(request, gatewayJsonBytesMax);
  const text = await within(request.text());
  if (text.length > gatewayJsonBytesMax) throw tooLarge(text.length, gatewayJsonBytesMax);
  const value = parsed(text === "" ? "{}" : text);
  if (isJsonObject(value)) return value;
  throw new HttpError("BAD_FRAME", "the body is not a JSON object");
};

export const isJson = (contentType: string): boolean => /^application\/json\s*(;|$)/i.test(contentType);

const parsed = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new HttpError("BAD_FRAME", `the body is no JSON: ${(error as Error).message}`);
  }
};

const checkLength = (request: Request, bytesMax: number): void => {
  const length = Number(request.headers.get("content-length") ?? 0);
  if (length > bytesMax) throw tooLarge(length, bytesMax);
};

const tooLarge = (bytes: number, bytesMax: number): HttpError =>
  new HttpError("TOO_LARGE", `the body has ${bytes} bytes, the limit is ${bytesMax}`, { Connection: "close" });

const within = <Body>(reading: Promise<Body>): Promise<Body> => {
  const { promise, resolve, reject } = Promise.withResolvers<Body>();
  const timer = setTimeout(() => {
    const message = `the body was not there after ${gatewayBodyMs} ms`;
    reject(new HttpError("TIMEOUT", message, { Connection: "close" }));
  }, gatewayBodyMs);
  reading.then(
    (body) => {
      clearTimeout(timer);
      resolve(body);
    },
    () => {
      clearTimeout(timer);
      // Bun's own error for a connection that has ended meanwhile: nobody reads the answer.
      reject(new HttpError("BAD_FRAME", "the body could not be read"));
    },
  );
  return promise;
};
