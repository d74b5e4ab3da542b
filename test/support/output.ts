/** What the code under test writes to stdout and stderr while a test has `using output = captureOutput()`. */
import { spyOn } from "bun:test";
import { stderr, stdout } from "../../src/process/streams.ts";

export interface Output extends Disposable {
  /** whole text so far */
  readonly stdout: string;
  readonly stderr: string;
}

export const captureOutput = (): Output => {
  const text = { stdout: "", stderr: "" };
  const outputs = { stdout, stderr };
  const spies = (["stdout", "stderr"] as const).map((name) =>
    spyOn(outputs[name], "write").mockImplementation(async (chunk) => {
      text[name] += chunk;
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
