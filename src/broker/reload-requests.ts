/**
 * Requestors that have asked for a reload: each is answered when the supervisor says how it went.
 */
import { reloadsMax } from "../limits.ts";
import { encodeData } from "../protocol/frames.ts";
import type { Effect } from "./events.ts";
import { personOf } from "./job.ts";
import type { BrokerState, EndReason, RequestSender } from "./state.ts";
import type { Tables } from "./tables.ts";

export class ReloadRequests {
  readonly #asked: BrokerState["reloads"] = new Map();
  #lastRequest = 0;

  constructor(private readonly tables: Tables) {}

  ask(sender: RequestSender): Effect[] {
    const { blocks, requests } = this.tables;
    if (blocks.closed !== null) return [requests.refuse(sender, closed)];
    if (this.#asked.size >= reloadsMax) {
      return [
        requests.refuse(sender, { code: "QUEUE_FULL", message: `${reloadsMax} others wait for the same already` }),
      ];
    }
    const request = ++this.#lastRequest;
    this.#asked.set(request, sender);
    const line = `A reload is asked for by ${personOf(sender) ?? "a requestor"}`;
    return [
      { to: "log", line },
      { to: "supervisor", type: "reload", request },
    ];
  }

  /** @param tasks their number now; null if nothing was taken, and `failure` says why */
  done(request: number, tasks: number | null, failure: string | null): Effect[] {
    const sender = this.#asked.get(request);
    this.#asked.delete(request);
    return sender === undefined ? [] : [this.tables.requests.acknowledge(sender, encodeData({ tasks, failure }))];
  }

  /** The engine ends: there is no reload any more. */
  refuseAll(): Effect[] {
    const asked = [...this.#asked.values()];
    this.#asked.clear();
    return asked.map((sender) => this.tables.requests.refuse(sender, closed));
  }
}

const closed: EndReason = {
  code: "SHUTTING_DOWN",
  message: "the engine is stopping; it reads its files when it starts",
};
