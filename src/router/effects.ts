/** What the broker wants done. It does nothing itself: router.ts sends, and prints what it is told to print. */
import type { RouterHeader } from "../wire/backend.ts";
import type { ErrorCode } from "../wire/errors.ts";
import { encodeError } from "../wire/frames.ts";
import { encodeReplyMeta } from "../wire/requests.ts";
import type { Job, Requestor } from "./job.ts";

export type Effect =
  | { readonly to: "requestor"; readonly requestor: Requestor; readonly frames: readonly Uint8Array[] }
  | {
      readonly to: "worker";
      readonly key: string;
      readonly header: RouterHeader;
      readonly bodies: readonly Uint8Array[];
    }
  /** Nothing runs and nothing waits any more, after `drain`. */
  | { readonly to: "supervisor"; readonly drained: true }
  | { readonly to: "log"; readonly line: string };

type Asked = Pick<Job, "meta"> & { readonly requestor: Requestor };

/** `data`: a DATA frame; a v0.1 requestor gets META alone. */
export const acknowledge = ({ requestor, meta }: Asked, id: string, data?: Uint8Array): Effect => {
  const reply = encodeReplyMeta(id, "ACK", meta.version, meta.serial);
  return { to: "requestor", requestor, frames: data === undefined || meta.version === 0.1 ? [reply] : [reply, data] };
};

/** `body`: the DATA frame with `{code, message}`, as a worker sent it. */
export const failWith = ({ requestor, meta }: Asked, id: string, body: Uint8Array): Effect => ({
  to: "requestor",
  requestor,
  frames: [encodeReplyMeta(id, "ERR", meta.version, meta.serial), body],
});

export const fail = (asked: Asked, id: string, code: ErrorCode, message: string): Effect =>
  failWith(asked, id, encodeError(code, message));
