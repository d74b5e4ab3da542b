/** What user code threw, in words. It can be anything, and looking at it can throw again. */

/** The message of an Error, a string itself, anything else as a person would write it down. Never throws. */
export const thrownMessage = (thrown: unknown): string =>
  carefully(() => {
    if (thrown instanceof Error) return String(thrown.message) || String(thrown.name);
    if (typeof thrown === "string" && thrown !== "") return thrown;
    return `threw ${Bun.inspect(thrown)}`;
  });

/**
 * For the log: the stack where there is one, line by line. All but the first are indented, as no line of the engine's own is: a
 * message may be of a requestor's making, and have lines that look like others of the log. Never throws.
 */
export const thrownLines = (thrown: unknown): [first: string, ...rest: string[]] => {
  const [first = "", ...rest] = thrownText(thrown).split("\n");
  return [first, ...rest.map((line) => (line.startsWith("    ") ? line : `    ${line}`))];
};

const thrownText = (thrown: unknown): string =>
  carefully(() => {
    if (!(thrown instanceof Error)) return thrownMessage(thrown);
    const text = String(thrown.stack ?? `${thrown.name}: ${thrown.message}`);
    return thrown.cause === undefined ? text : `${text}\ncaused by: ${thrownMessage(thrown.cause)}`;
  });

const carefully = (describe: () => string): string => {
  try {
    return describe();
  } catch {
    return "threw something that cannot be shown";
  }
};
