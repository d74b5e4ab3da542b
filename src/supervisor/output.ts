/**
 * Lets the engine run on when nobody reads what it says any more: a closed terminal, `serve | head`, a full disk. Without
 * this the first unwritten line would end the process, and a robot's work is worth more than its log. There is nobody to
 * tell, so nothing is told.
 */
export const outliveReaders = (): void => {
  for (const stream of [process.stdout, process.stderr]) stream.on("error", forget);
};

const forget = (): void => undefined;
