/** What the code under test writes to stdout and stderr while a test has `using output = captureOutput()`. */
import { spyOn } from "bun:test";

export interface Output extends Disposable {
  /** whole text so far */
  readonly stdout: string;
  readonly stderr: string;
}

export const captureOutput = (): Output => {
  const text = { stdout: "", stderr: "" };
  const spies = (["stdout", "stderr"] as const).map((name) =>
    spyOn(process[name], "write").mockImplementation((chunk) => {
      text[name] += String(chunk);
      return true;
    }),
  );
  return {
    get stdout() {
      return text.stdout;
    },
    get stderr() {
      return text.stderr;
    },
    [Symbol.dispose]: () => {
      for (const spy of spies) spy.mockRestore();
    },
  };
};
