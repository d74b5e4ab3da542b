/** How jobs end. */
import { retryBackoffMs, triesDefault } from "../limits.ts";
import type { ErrorCode } from "../wire/errors.ts";
import { encodeError } from "../wire/frames.ts";
import type { Policy } from "../wire/policy.ts";

/** `body`: its DATA frame; that of an ERR has `{code, message}`. `by`: who answers, META's `id`. */
export interface Outcome {
  readonly type: "ACK" | "ERR";
  readonly by: string;
  readonly body: Uint8Array;
}

export const failure = (by: string, code: ErrorCode, message: string): Outcome => ({
  type: "ERR",
  by,
  body: encodeError(code, message),
});

export const codeOf = (errorFrame: Uint8Array): string => {
  const { data } = JSON.parse(Buffer.from(errorFrame).toString()) as { data?: { code?: unknown } };
  return typeof data?.code === "string" ? data.code : "TASK_ERROR";
};

/** How a task is tried again, if it may be at all. */
export const idempotence = (
  policy: Policy | undefined,
): { tries: number; backoffMs: number; onError: boolean } | null => {
  const declared = policy?.idempotent;
  if (declared === undefined || declared === false) return null;
  const { tries = triesDefault, backoffMs = retryBackoffMs, onError = false } = declared === true ? {} : declared;
  return { tries, backoffMs, onError };
};
