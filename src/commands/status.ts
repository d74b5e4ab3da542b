/**
 * `status` shows what a running engine says of itself: its workers, its tasks and how long they take, what has failed, what was
 * dropped, and its limits.
 *
 * Sends CONTROL `status`. Prints tables for a person; with `--json` the whole answer as one line. With `--watch` again each
 * second, on a terminal in the same place, until Ctrl-C or SIGTERM. Exits with 0; 1 when the engine said no, 2 for wrong usage, 3
 * when there is no engine or no answer in time.
 */
import type { EngineStatus } from "../client/client.ts";
import { watchIntervalMs } from "../limits.ts";
import { isTerminal } from "../process/streams.ts";
import { defineCommand } from "./command.ts";
import { connectionFrom, endpointFrom, engineArgs, withEngine } from "./engine.ts";
import { toldToEnd } from "./interrupt.ts";
import { printResult, stdoutClosed, writeOut } from "./output.ts";
import { describeStatus } from "./status-view.ts";

export const statusCommand = defineCommand({
  meta: { name: "status", description: "Show what a running engine does" },
  args: {
    ...engineArgs,
    json: { type: "boolean", description: "Print JSON" },
    watch: { type: "boolean", description: "Show it again each second, until Ctrl-C" },
  },
  run: async ({ args }) => {
    const endpoint = await endpointFrom(args);
    const show = args.json
      ? (status: EngineStatus): Promise<void> => printResult(JSON.stringify(status))
      : (status: EngineStatus): Promise<void> => printBlock(describeStatus(endpoint, status), args.watch === true);
    await withEngine(endpoint, connectionFrom(args), async (engine) => {
      if (!args.watch) return show(await engine.status());
      const end = Promise.race([toldToEnd(), stdoutClosed]).then(() => "end" as const);
      const showAgain = async (): Promise<void> => show(await engine.status());
      // An engine that does not answer, or a reader that does not read, must not hold up the end.
      while ((await Promise.race([showAgain(), end])) !== "end") {
        if ((await Promise.race([Bun.sleep(watchIntervalMs), end])) === "end") return;
      }
    });
  },
});

const home = "\u001b[H";
const eraseToEndOfLine = "\u001b[K";
const eraseBelow = "\u001b[J";

/** On a terminal that is watched in the same place each time, cut to what it can show; else one block after the other. */
const printBlock = async (lines: readonly string[], again: boolean): Promise<void> => {
  if (!again) return printResult(lines.join("\n"));
  if (!isTerminal(1)) return printResult([...lines, ""].join("\n"));
  const { rows, columns } = process.stdout;
  const shown = lines.slice(0, rows - 1).map((line) => `${line.slice(0, columns)}${eraseToEndOfLine}\n`);
  await writeOut(`${home}${shown.join("")}${eraseBelow}`);
};
