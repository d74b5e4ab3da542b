/** Values as HTTP answers: JSON as JSON, bytes as they are. */
import type { BinaryReply, TaskReply } from "../client/pending.ts";
import type { Json } from "../protocol/json.ts";

/**
 * The whole answer of the engine. Of a job that goes on by itself: 202.
 * @param wrap what stands around JSON
 */
export const replyAnswer = (
  reply: TaskReply | BinaryReply,
  wrap: (data: Json) => unknown = (data) => data,
): Response => {
  if ("type" in reply) return bytesAnswer(bytesIn(reply.data), reply.type);
  if (reply.meta.type === "ACCEPTED") return Response.json(reply.data, { status: 202 });
  return Response.json(wrap(reply.data));
};

const bytesIn = (data: ArrayBufferView): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

/**
 * A value may be a page of HTML or a picture with a script in it: `sandbox` keeps what a browser is
 * shown of it from all that is the gateway's.
 */
export const bytesAnswer = (
  bytes: Uint8Array,
  {
    contentType = "application/octet-stream",
    dtype,
    shape,
  }: {
    readonly contentType?: string | undefined;
    readonly dtype?: string | undefined;
    readonly shape?: readonly number[] | undefined;
  } = {},
  headers: Readonly<Record<string, string>> = {},
): Response =>
  new Response(bytes as Uint8Array<ArrayBuffer>, {
    headers: {
      ...headers,
      "Content-Type": safeType(contentType),
      "Content-Security-Policy": "default-src 'none'; sandbox",
      ...(dtype !== undefined && { "X-Dtype": dtype }),
      ...(shape !== undefined && { "X-Shape": JSON.stringify(shape) }),
    },
  });

/** A header has one line of visible characters. */
const safeType = (contentType: string): string =>
  /^[\x20-\x7e]{1,128}$/.test(contentType) ? contentType : "application/octet-stream";
