/**
 * Jobs that may begin when nobody waits for them. Motion never starts by itself: a task must say
 * that it moves nothing, or that its author has thought of it.
 */
import type { ErrorBody } from "../protocol/errors.ts";
import type { Policy } from "../protocol/policy.ts";
import { deadmanOf, noOptions } from "./job.ts";
import type { Draft } from "./state.ts";

export const mayBeginUnattended = ({ moves, resumesAfterRestart }: Policy): boolean =>
  moves === false || resumesAfterRestart === true;

/** The word for a job that may begin when nobody waits for it; null for any other. */
const wordFor = ({ options, schedule }: Draft): string | null => {
  if (schedule !== undefined) return "scheduled";
  if (options.durable === true) return "durable";
  if (options.detach === true) return "detached";
  return options.delayMs === undefined && options.notBefore === undefined ? null : "delayed";
};

/** Why these options cannot be; null if they can. @param parts of the message */
export const refusalOfOptions = (draft: Draft, parts: number): ErrorBody | null => {
  const { name, options, policy } = draft;
  if (options === noOptions) return null;
  const { detach = false, durable = false, unique, delayMs, notBefore } = options;
  const refusal = (message: string): ErrorBody => ({ code: "BAD_ARGS", message });
  if (durable && policy.durable !== true) {
    return { code: "NOT_DURABLE", message: `${name} is not durable; write \`durable: true\` in its definition` };
  }
  const what = wordFor(draft);
  if (parts > 1 && (durable || detach || unique !== undefined)) {
    const kind = durable ? "durable" : detach ? "detached" : "unique";
    return refusal(`a part of a batch cannot be ${kind}; send ${name} alone`);
  }
  if (delayMs !== undefined && notBefore !== undefined) return refusal("`delayMs` excludes `notBefore`");
  if (what === null) return null;
  if (deadmanOf(draft) < Number.POSITIVE_INFINITY) {
    return refusal(`${name} has a deadmanMs and runs only while its requestor is there, so it cannot be ${what}`);
  }
  if (mayBeginUnattended(policy)) return null;
  const remedy = "write `moves: false` in its definition if it moves nothing, or `resumesAfterRestart: true`";
  return refusal(`${name} may move something, so it cannot be ${what}; ${remedy}`);
};
