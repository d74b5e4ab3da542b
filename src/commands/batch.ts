/**
 * `send TASK --batch FILE`: the task once for each line of a file, which is a JSON list of arguments; `-` is stdin.
 *
 * Sends the lines in messages of many, and prints a line of JSON for each, in their order: the result, or
 * `{"error": {"code": …, "message": …}}`; with `--json` `{"data": …}` for a result, so that the two cannot be confused. What
 * is held of a file is bounded, however long it is. A file that can be read twice is checked before anything is sent; in a
 * stream, what stands before a bad line is done and printed. On a terminal stderr shows how far it is.
 * What had been sent when the connection was lost is INTERRUPTED; the rest goes on once there is a connection again.
 * Exits with 1 if any has failed; with 2 for a line that is no list, which is named; with 3 at the first that got no answer.
 */
import type { BatchOptions, Client, PartResult } from "../client/client.ts";
import { ExitError } from "./exit.ts";
import { countArgsLines, readArgsLines } from "./lines.ts";
import { printResult, stdoutClosed } from "./output.ts";
import { StatusLine } from "./status-line.ts";

/** Throws ExitError as above; what else it throws is the client's. */
export const sendBatch = async (
  engine: Client,
  task: string,
  path: string,
  options: BatchOptions & { readonly signal: AbortSignal },
  json: boolean,
): Promise<void> => {
  const total = await countArgsLines(path, options.signal);
  let hasReader = true;
  stdoutClosed.then(() => {
    hasReader = false;
  });
  using line = new StatusLine();
  let printed = 0;
  let failed = 0;
  const onProgress = ({ done }: { done: number }): void => line.show(describe(task, done, total, failed));
  for await (const result of engine.stream(task, readArgsLines(path, options.signal), { ...options, onProgress })) {
    if (result.error?.code === "NO_ANSWER") throw new ExitError(`after ${printed} results: ${result.error.message}`, 3);
    if (result.error !== undefined) failed++;
    printed++;
    line.clear();
    await printResult(JSON.stringify(shown(result, json)));
    // Nobody wants the rest; leaving the loop cancels it.
    if (!hasReader) return;
  }
  if (failed > 0) throw new ExitError(`${failed} of ${printed} failed`, 1);
};

const shown = ({ data, error }: PartResult, json: boolean): unknown => {
  if (error !== undefined) return { error: { code: error.code, message: error.message } };
  return json ? { data } : data;
};

const barLength = 20;

const describe = (task: string, done: number, total: number | null, failed: number): string => {
  const failures = failed === 0 ? "" : `, ${failed} failed`;
  if (total === null) return `${task}: ${done} done${failures}`;
  const length = Math.floor((barLength * done) / Math.max(total, 1));
  return `${task} [${"#".repeat(length)}${"-".repeat(barLength - length)}] ${done} of ${total}${failures}`;
};
