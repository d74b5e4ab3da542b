/** What an engine, its workers or other requestors have thought of, printed by the verbs: to a person, and to a program. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { startCommand } from "../support/command.ts";
import { type Arrived, handRouter } from "../support/hand-router.ts";

setDefaultTimeout(120_000); // on a busy machine

const hostile = "\u001b]0;owned\u0007\u001b[2J\rforged\u202e\u009b31m";
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const controls = /[\u0000-\u0008\u000b\u000c\u000e-\u001a\u001c-\u001f\u007f-\u009f\u202e]|\u001b(?!\[K)/;

const run = async (args: readonly string[], answer: (arrived: Arrived) => void, terminal: boolean) => {
  using router = handRouter();
  router.serve(answer);
  const env = { PATH: process.env.PATH ?? "", TERM: "xterm" };
  await using command = startCommand([...args, "--router", router.endpoint], { env, terminal });
  const exitCode = await command.ended();
  return { exitCode, stdout: command.stdout, stderr: command.stderr };
};

/** The engine of an earlier version, which has no stream port: its answers to `tasks` and to `get`. */
const oldEngine = ({ ack }: Arrived): void =>
  ack({ tasks: [], data: ["tcp://127.0.0.1:1"], topic: "x", value: hostile, pack: 1 });

test.each<[what: string, args: string[], answer: (arrived: Arrived) => void, exitCode: number]>([
  ["a string result", ["send", "count"], ({ ack }) => ack(hostile), 0],
  ["a result with hostile keys", ["send", "count"], ({ ack }) => ack({ [hostile]: [hostile] }), 0],
  ["an error's message", ["send", "count"], ({ refuse }) => refuse("TASK_ERROR", `${hostile}\nforged`), 1],
  ["an error as JSON", ["send", "count", "--json"], ({ refuse }) => refuse("TASK_ERROR", hostile), 1],
  ["a value", ["data", "get", "x"], oldEngine, 0],
  ["the names of tasks", ["tasks"], ({ ack }) => ack({ tasks: [{ name: hostile, workers: 1 }], data: [] }), 0],
])("%s does nothing to a terminal", async (_what, args, answer, expected) => {
  const { exitCode, stdout } = await run(args, answer, true);
  expect({ exitCode, stdout }).toEqual({ exitCode: expected, stdout: expect.stringContaining("forged") });
  // The terminal itself makes \r\n of a line's end.
  expect(stdout.replaceAll("\r\n", "\n").replaceAll("\r\u001b[K", "")).not.toMatch(controls);
});

test("progress does nothing to a terminal", async () => {
  const answer = ({ progress, ack }: Arrived): void => {
    progress(hostile);
    ack("done");
  };
  const { stdout } = await run(["send", "count"], answer, true);
  expect(stdout.replaceAll("\r\n", "\n").replaceAll("\r\u001b[K", "")).not.toMatch(controls);
});

test("an error's message is one line, and so is a task's name", async () => {
  const refused = await run(
    ["send", "count"],
    ({ refuse }) => refuse("TASK_ERROR", "no\ntask-engine: all is well"),
    false,
  );
  expect(refused.stderr).toBe("task-engine: TASK_ERROR: no\\x0atask-engine: all is well\n");
  const answer = ({ ack }: Arrived): void => ack({ tasks: [{ name: "drive\nself-destruct", workers: 1 }], data: [] });
  expect((await run(["tasks"], answer, false)).stdout).toBe("drive\\x0aself-destruct\n");
});

test("a program gets a string result as it is", async () => {
  expect((await run(["send", "count"], ({ ack }) => ack(hostile), false)).stdout).toBe(`${hostile}\n`);
});
