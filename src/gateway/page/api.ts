/** Requests to the gateway. Each has a time limit, and a failure that a person can read. */
import type { Json } from "./types.ts";

/** ms. What the gateway answers by itself or after a word with the engine. */
const patienceMs = 8_000;

export class ApiError extends Error {
  override readonly name = "ApiError";

  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

interface RequestOptions {
  readonly body?: Json;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** @param path segments, encoded here: `["tasks", "wave"]` @param query as it is after `?` */
export const pathOf = (segments: readonly string[], query: Readonly<Record<string, string>> = {}): string => {
  const search = new URLSearchParams(query).toString();
  return `/api/${segments.map(encodeURIComponent).join("/")}${search === "" ? "" : `?${search}`}`;
};

const send = async (method: string, path: string, options: RequestOptions): Promise<Response> => {
  const { body, timeoutMs = patienceMs, signal } = options;
  const timeout = AbortSignal.timeout(timeoutMs);
  const response = await fetch(path, {
    method,
    cache: "no-store",
    signal: signal === undefined ? timeout : AbortSignal.any([timeout, signal]),
    ...(body !== undefined && { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
  }).catch((error: unknown) => {
    if (signal?.aborted) throw new ApiError("CANCELLED", "cancelled here");
    if (timeout.aborted) throw new ApiError("NO_ANSWER", `the gateway has not answered within ${timeoutMs / 1000} s`);
    throw new ApiError(
      "NO_ANSWER",
      `the gateway cannot be reached (${error instanceof Error ? error.message : error})`,
    );
  });
  if (response.ok) return response;
  const { code, message } = await response.json().catch(() => ({}));
  throw new ApiError(
    typeof code === "string" ? code : `HTTP ${response.status}`,
    typeof message === "string" ? message : response.statusText,
  );
};

/** A request whose answer is JSON of the shape that GATEWAY.md says. Throws ApiError. */
export const ask = async <T>(method: string, path: string, options: RequestOptions = {}): Promise<T> => {
  const response = await send(method, path, options);
  return response.json().catch(() => {
    throw new ApiError("BAD_FRAME", "the gateway's answer is no JSON");
  });
};

export type Result = { readonly data: Json } | { readonly blob: Blob };

/** A request whose answer may be bytes. Throws ApiError. */
export const askForResult = async (method: string, path: string, options: RequestOptions = {}): Promise<Result> => {
  const response = await send(method, path, options);
  if (response.headers.get("content-type")?.startsWith("application/json")) return response.json();
  return { blob: await response.blob() };
};

/** One line on anything that was thrown. */
export const lineOf = (error: unknown): string => {
  if (error instanceof ApiError) return `${error.code}: ${error.message}`;
  return error instanceof Error ? error.message : String(error);
};
