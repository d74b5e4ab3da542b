/**
 * `test` for files whose tests have processes of their own and mostly wait for them: they run beside one another, a few at a
 * time. Their time limits begin when the first of them does, so such a file has a long default timeout.
 */
import { test as bunTest } from "bun:test";

/** More would only make each test slower on the two cores of a small machine. */
const runningMax = 3;

let running = 0;
const waiting: (() => void)[] = [];

const limited =
  <Args extends readonly unknown[]>(run: (...args: Args) => unknown) =>
  async (...args: Args): Promise<void> => {
    if (running === runningMax) await new Promise<void>((resolve) => waiting.push(resolve));
    else running++;
    try {
      await run(...args);
    } finally {
      const next = waiting.shift();
      if (next === undefined) running--;
      else next();
    }
  };

type Run = () => unknown;

const skipIf =
  (isSkipped: boolean) =>
  (name: string, run: Run, timeoutMs?: number): void =>
    (isSkipped ? bunTest.skip : bunTest.concurrent)(name, limited(run), timeoutMs);

const each = ((rows: readonly unknown[]) =>
  (name: string, run: (...args: readonly unknown[]) => unknown, timeoutMs?: number): void =>
    bunTest.concurrent.each([...rows])(name, limited(run), timeoutMs)) as unknown as typeof bunTest.each;

/** `serial` runs a test alone, such as one that changes something of this process. */
export const test = Object.assign(skipIf(false), { each, skipIf, serial: bunTest.serial });
