/** What user code threw, in words. It can be anything, and looking at it can throw again. */
import { errorMessageLengthMax, thrownLinesMax, thrownReasonsMax, thrownTextLengthMax } from "../limits.ts";

/** `instanceof`, which throws itself for some of what can be thrown (a revoked proxy). */
export const isA = <Kind>(thrown: unknown, kind: abstract new (...given: never) => Kind): thrown is Kind => {
  try {
    return thrown instanceof kind;
  } catch {
    return false;
  }
};

/**
 * One line: the message of an Error with those of its causes in parentheses, a string itself, anything else as a person would write it
 * down. Never throws.
 */
export const thrownMessage = (thrown: unknown): string => summary(thrown, new Budget(thrown));

/**
 * For the log: the stack where there is one, line by line, and those of its causes. All but the first are indented, as no line of the
 * engine's own is: a message may be of a requestor's making, and have lines that look like others of the log. Never throws.
 */
export const thrownLines = (thrown: unknown): [first: string, ...rest: string[]] => {
  const whole = details(thrown, new Budget(thrown));
  const [first = "", ...rest] = whole.slice(0, thrownTextLengthMax).split("\n", thrownLinesMax);
  const shown = rest.map((line) => (line.startsWith("    ") ? line : `    ${line}`));
  const hidden = whole.length - (first.length + rest.reduce((length, line) => length + line.length + 1, 0));
  return [first, ...shown, ...(hidden > 0 ? [`    … and ${hidden} more characters, not shown`] : [])];
};

/** Of the reasons within reasons, so many are told; causes can go in a circle. */
class Budget {
  #left = thrownReasonsMax;
  readonly #seen: Set<unknown>;

  constructor(outermost: unknown) {
    this.#seen = new Set([outermost]);
  }

  /** False for one that is not told. */
  take({ thrown }: Reason): boolean {
    const isObject = typeof thrown === "object" && thrown !== null;
    if (this.#left === 0 || (isObject && this.#seen.has(thrown))) return false;
    this.#left--;
    this.#seen.add(thrown);
    return true;
  }
}

interface Reason {
  /** What it is to the error that has it; empty for one of several equals. */
  readonly as: string;
  readonly thrown: unknown;
}

/** Of an AggregateError (`Promise.any`), of a SuppressedError (`using`), and the cause of any Error. */
const reasonsOf = (error: unknown): readonly Reason[] => {
  if (!isA(error, Error)) return [];
  const reasons: Reason[] = [];
  const look = (as: string, get: () => unknown): void => {
    const thrown = carefully(get, undefined);
    if (thrown !== undefined) reasons.push({ as, thrown });
  };
  if (isA(error, AggregateError)) {
    // One more than can be told.
    for (let index = 0; index <= thrownReasonsMax; index++) look("", () => error.errors[index]);
  }
  if (isA(error, SuppressedError)) {
    look("", () => error.error);
    look("suppressed", () => error.suppressed);
  }
  look("caused by", () => error.cause);
  return reasons;
};

const summary = (thrown: unknown, budget: Budget): string => {
  const own = ownMessage(thrown);
  const parts: string[] = [];
  for (const reason of reasonsOf(thrown)) {
    if (!budget.take(reason)) {
      parts.push("…");
      break;
    }
    const message = summary(reason.thrown, budget);
    // Many write the message of the cause into their own.
    if (reason.as === "" || !own.endsWith(message)) parts.push(reason.as === "" ? message : `${reason.as}: ${message}`);
  }
  return parts.length === 0 ? own : `${own} (${parts.join("; ")})`;
};

const details = (thrown: unknown, budget: Budget): string => {
  let text = stackOf(thrown);
  for (const reason of reasonsOf(thrown)) {
    if (text.length > thrownTextLengthMax) break;
    text += `\n${reason.as || "reason"}: ${budget.take(reason) ? details(reason.thrown, budget) : "…"}`;
  }
  return text;
};

const ownMessage = (thrown: unknown): string =>
  carefully(
    () => oneLine(isA(thrown, Error) ? String(thrown.message) || String(thrown.name) : written(thrown)),
    unshowable,
  );

const stackOf = (thrown: unknown): string =>
  carefully(() => {
    if (!isA(thrown, Error)) return written(thrown);
    const [stack, message] = [String(thrown.stack ?? ""), String(thrown.message)];
    // It is of when the error was made, and the message may have been changed since.
    return stack.includes(message) && stack !== "" ? stack : `${thrown.name}: ${message}\n${stack}`.trimEnd();
  }, unshowable);

/** What is no Error. */
const written = (thrown: unknown): string =>
  typeof thrown === "string" && thrown !== "" ? thrown : `threw ${Bun.inspect(thrown)}`;

/** No longer than what a requestor is told: it may have any length. */
const oneLine = (text: string): string => text.slice(0, errorMessageLengthMax + 1).replace(/\s*[\r\n]\s*/g, " ");

const unshowable = "threw something that cannot be shown";

const carefully = <Seen>(look: () => Seen, otherwise: Seen): Seen => {
  try {
    return look();
  } catch {
    return otherwise;
  }
};
