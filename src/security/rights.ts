/** The right that each message needs (table in PROTOCOL.md). A refusal is one line, or null. */

import type { ReadyHeader } from "../protocol/backend.ts";
import type { OnBehalf } from "../protocol/frames.ts";
import type { BadRequest, RequestMessage } from "../protocol/requests.ts";
import { Access, type Right } from "./access.ts";

/**
 * A request for a person needs the right of that person, too.
 * @param user the authenticated user of the connection, never a claim of the message
 */
export const refusalOfRequest = (
  access: Access,
  user: string | null,
  request: RequestMessage | BadRequest,
): string | null => {
  const onBehalf = request.kind === "bad" ? undefined : request.meta.onBehalf;
  if (onBehalf === undefined) return refusalOf(access, user, request);
  const refusal = access.refusal(user, "delegate") ?? refusalOf(access, user, request);
  if (refusal !== null) return refusal;
  const person = personsAccess(onBehalf);
  return typeof person === "string" ? `META.onBehalf: ${person}` : refusalOf(person, onBehalf.name, request);
};

/** As `Access.refusal`, of a user and the person for whom it asks. */
export const refusalOfRight = (
  access: Access,
  user: string | null,
  onBehalf: OnBehalf | undefined,
  right: Right,
): string | null => {
  const refusal = access.refusal(user, right);
  if (refusal !== null || onBehalf === undefined) return refusal;
  const person = personsAccess(onBehalf);
  return typeof person === "string" ? `META.onBehalf: ${person}` : person.refusal(onBehalf.name, right);
};

/** Rights by identity of the object: META of one program comes from a cache. */
const known = new WeakMap<OnBehalf, Access | string>();

const personsAccess = (onBehalf: OnBehalf): Access | string => {
  const access = known.get(onBehalf) ?? Access.ofPerson(onBehalf.name, onBehalf.rights);
  known.set(onBehalf, access);
  return access;
};

const refusalOf = (access: Access, user: string | null, request: RequestMessage | BadRequest): string | null => {
  // These only affect the client's own request.
  if (request.kind === "cancel" || request.kind === "keepAlive") return null;
  if (!access.knows(user)) return access.revokedKeyMessage(user);
  switch (request.kind) {
    case "task":
      return firstOf(request.parts, ({ name }) => access.refusal(user, "send", name));
    case "data":
      return access.refusal(user, "write", request.topic);
    case "control":
      switch (request.control.command) {
        case "get":
          return access.refusal(user, "read", request.control.topic);
        case "status":
          return access.hasSome(user, "observe") ? null : access.refusal(user, "control");
        case "reset":
          return access.refusal(user, "control");
        case "jobs":
        case "schedules":
          return access.refusal(user, "observe");
        case "retry":
        case "discard":
        case "reload":
        case "pause":
        case "resume":
        case "schedule":
          return access.refusal(user, "manage");
        // One's own jobs need no right: the broker knows whose a job is.
        case "cancel":
          return request.control.job === undefined ? access.refusal(user, "control") : null;
        case "logs":
          return request.control.job === undefined ? access.refusal(user, "observe") : null;
        case "job":
        case "result":
          return null;
        // A client that can move the robot can stop it.
        case "estop":
          return access.hasSome(user, "send") ? null : access.refusal(user, "control");
        case "tasks":
          return null;
      }
      break;
    case "ping":
    case "bad":
      return null;
  }
};

/**
 * A data worker needs the right for all tasks, since it may get data of any topic. So does a source
 * worker, which serves none of them; its publications need `write` besides.
 */
export const refusalOfWorker = (access: Access, user: string | null, ready: ReadyHeader): string | null => {
  if (ready.role !== "task" || ready.tasks.length === 0) return access.refusal(user, "worker");
  return firstOf(ready.tasks, (task) => access.refusal(user, "worker", typeof task === "string" ? task : task.name));
};

const firstOf = <Item>(items: readonly Item[], refusalOf: (item: Item) => string | null): string | null => {
  for (const item of items) {
    const refusal = refusalOf(item);
    if (refusal !== null) return refusal;
  }
  return null;
};
