/** Results on stdout, which may be a terminal, a file, or a pipe that its reader closes at any time. */

const closed = Promise.withResolvers<void>();
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  closed.resolve();
});

/** Resolves when nobody reads stdout any more, as in `data watch | head -1`; which is no failure. */
export const stdoutClosed: Promise<void> = closed.promise;

/** Control characters, but for line feed and tab: on a terminal they would move the cursor, or worse. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const controls = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e]/g;

/** Writes a line: to a program as it is, to a person without what a terminal would obey. */
export const printResult = (text: string): void => {
  process.stdout.write(`${process.stdout.isTTY ? text.replace(controls, "\ufffd") : text}\n`);
};
