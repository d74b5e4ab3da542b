/**
 * One line on a terminal that is rewritten as things go on. It goes to stderr, since stdout is for results; where stderr is
 * no terminal nothing is written.
 */
import { progressIntervalMs } from "../limits.ts";
import { isTerminal, printable, stderr } from "../process/streams.ts";

const eraseLine = "\r\u001b[K";
const columnsDefault = 80;

export class StatusLine implements Disposable {
  #text = "";
  #writtenMs = Number.NEGATIVE_INFINITY;

  /** Replaces what the line says. What comes too quickly to be read is left out. */
  show(text: string): void {
    const nowMs = performance.now();
    if (text === this.#text || nowMs - this.#writtenMs < progressIntervalMs || !isTerminal(2)) return;
    this.#writtenMs = nowMs;
    this.#text = text;
    // A line that wraps could not be erased.
    const shown = printable(text).slice(0, (process.stderr.columns || columnsDefault) - 1);
    stderr.show(`${eraseLine}${shown}`);
  }

  /** Makes room, for instance for a result on the same terminal. */
  clear(): void {
    if (this.#text !== "") stderr.show(eraseLine);
    this.#text = "";
  }

  [Symbol.dispose](): void {
    this.clear();
  }
}
