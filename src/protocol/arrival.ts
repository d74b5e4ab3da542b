/** What can come by a connection of requestors. */
import type { Requestor } from "./envelope.ts";
import type { BadRequest, RequestMessage } from "./requests.ts";

export type Arrival =
  | {
      readonly type: "request";
      readonly requestor: Requestor;
      /** The name of the key that it was authenticated by; null where nobody is known. */
      readonly user: string | null;
      readonly request: RequestMessage | BadRequest;
    }
  /** The connection is gone. `peer`: its key. `cutReason`: why this end has ended it; null where it has not. */
  | { readonly type: "lost"; readonly peer: string; readonly cutReason: string | null };
