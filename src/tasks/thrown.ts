/** Describes what user code threw. It can be anything, and looking at it can throw again. */
import { errorMessageLengthMax, thrownLinesMax, thrownReasonsMax, thrownTextLengthMax } from "../limits.ts";

/** `instanceof`, which throws itself for some values (a revoked proxy). */
export const isA = <Kind>(thrown: unknown, kind: abstract new (...given: never) => Kind): thrown is Kind =>
  carefully(() => thrown instanceof kind, false);

/**
 * One line: the message of an Error with those of its causes in parentheses, a string itself,
 * anything else as it is written in code. Never throws.
 */
export const thrownMessage = (thrown: unknown): string => summary(thrown, new ReasonBudget(thrown));

/**
 * For the log: the stack if there is one, line by line, and those of its causes. All lines but the
 * first are indented, unlike the engine's own: a message may be a requestor's text, and imitate
 * lines of the log. Never throws.
 */
export const thrownLines = (thrown: unknown): [first: string, ...rest: string[]] => {
  const whole = details(thrown, new ReasonBudget(thrown));
  const [first = "", ...rest] = whole.slice(0, thrownTextLengthMax).split("\n", thrownLinesMax);
  const shown = rest.map((line) => (line.startsWith("    ") ? line : `    ${line}`));
  const hidden = whole.length - (first.length + rest.reduce((length, line) => length + line.length + 1, 0));
  return [first, ...shown, ...(hidden > 0 ? [`    … and ${hidden} more characters, not shown`] : [])];
};

/** An error within an error. */
interface ThrownReason {
  /** Its relation to the outer error; empty for one of several equals. */
  readonly as: string;
  readonly thrown: unknown;
}

/** Limits the reasons of one description: there can be many, and they can form a circle. */
class ReasonBudget {
  #left = thrownReasonsMax;
  readonly #seen: Set<unknown>;

  constructor(outermost: unknown) {
    this.#seen = new Set([outermost]);
  }

  /** Returns false for a reason that is left out. */
  take({ thrown }: ThrownReason): boolean {
    const isObject = typeof thrown === "object" && thrown !== null;
    if (this.#left === 0 || (isObject && this.#seen.has(thrown))) return false;
    this.#left--;
    this.#seen.add(thrown);
    return true;
  }
}

/**
 * Those of an AggregateError (`Promise.any`) or SuppressedError (`using`), and any Error's cause.
 */
const reasonsOf = (error: unknown): readonly ThrownReason[] => {
  if (!isA(error, Error)) return [];
  const reasons: ThrownReason[] = [];
  const look = (as: string, get: () => unknown): void => {
    const thrown = carefully(get, undefined);
    if (thrown !== undefined) reasons.push({ as, thrown });
  };
  if (isA(error, AggregateError)) {
    // One more than the budget, so that the rest shows as "…".
    for (let index = 0; index <= thrownReasonsMax; index++) look("", () => error.errors[index]);
  }
  if (isA(error, SuppressedError)) {
    look("", () => error.error);
    look("suppressed", () => error.suppressed);
  }
  look("caused by", () => error.cause);
  return reasons;
};

const summary = (thrown: unknown, budget: ReasonBudget): string => {
  const own = ownMessage(thrown);
  const parts: string[] = [];
  for (const reason of reasonsOf(thrown)) {
    if (!budget.take(reason)) {
      parts.push("…");
      break;
    }
    const message = summary(reason.thrown, budget);
    // Many errors repeat the message of their cause.
    if (reason.as === "" || !own.endsWith(message)) parts.push(reason.as === "" ? message : `${reason.as}: ${message}`);
  }
  return parts.length === 0 ? own : `${own} (${parts.join("; ")})`;
};

const details = (thrown: unknown, budget: ReasonBudget): string => {
  let text = stackOf(thrown);
  for (const reason of reasonsOf(thrown)) {
    if (text.length > thrownTextLengthMax) break;
    text += `\n${reason.as || "reason"}: ${budget.take(reason) ? details(reason.thrown, budget) : "…"}`;
  }
  return text;
};

const unshowable = "threw something that cannot be shown";

const ownMessage = (thrown: unknown): string =>
  carefully(
    () => oneLine(isA(thrown, Error) ? String(thrown.message) || String(thrown.name) : inCode(thrown)),
    unshowable,
  );

const stackOf = (thrown: unknown): string =>
  carefully(() => {
    if (!isA(thrown, Error)) return inCode(thrown);
    const [stack, message] = [String(thrown.stack ?? ""), String(thrown.message)];
    // The stack has the message at the error's construction, which may have been changed since.
    return stack.includes(message) && stack !== "" ? stack : `${thrown.name}: ${message}\n${stack}`.trimEnd();
  }, unshowable);

const inCode = (thrown: unknown): string =>
  typeof thrown === "string" && thrown !== "" ? thrown : `threw ${Bun.inspect(thrown)}`;

/** Cut to the length that a requestor gets at most, before the search for line ends. */
const oneLine = (text: string): string => text.slice(0, errorMessageLengthMax + 1).replace(/\s*[\r\n]\s*/g, " ");

const carefully = <Seen>(look: () => Seen, otherwise: Seen): Seen => {
  try {
    return look();
  } catch {
    return otherwise;
  }
};
