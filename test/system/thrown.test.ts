/** What a task may throw, sync or async, and what its requestor and the log are told. The worker lives on. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { connect, TaskEngineError } from "task-engine";
import { startEngine } from "../support/engine.ts";
import { tempFolder } from "../support/temp-folder.ts";

setDefaultTimeout(120_000); // many processes on a busy machine

const things: readonly (readonly [expression: string, message: string])[] = [
  [
    "new AggregateError([new Error('left: stuck'), new Error('right: no power')], 'none')",
    "none (left: stuck; right: no power)",
  ],
  ["none", "(a; b)"],
  ["new Error('cannot drive', { cause: new Error('no power') })", "cannot drive (caused by: no power)"],
  ["null", "threw null"],
  ["undefined", "threw undefined"],
  ["Symbol('s')", "threw Symbol(s)"],
  ["Object.create(null)", "threw [Object: null prototype] {}"],
  ["revoked", "threw <Revoked Proxy>"],
  ["hostile", "threw {}"],
  ["{ toString() { throw 1; }, get message() { throw 2; } }", "threw {"],
  ["AbortSignal.abort().reason", "The operation was aborted."],
  ["new Error('y'.repeat(1_000_000))", "yyy"],
  ["Object.assign(new Error('deep'), { stack: 'at\\n'.repeat(100_000) })", "deep"],
];

const tasks = `
  const pair = Proxy.revocable({}, {});
  const revoked = pair.proxy;
  pair.revoke();
  const fail = () => { throw new Error("do not look"); };
  const hostile = new Proxy({}, { get: fail, has: fail, getPrototypeOf: fail, ownKeys: fail });
  const none = await Promise.any([Promise.reject(new Error("a")), Promise.reject("b")]).catch((error) => error);
  const made = [${things.map(([expression]) => `[${expression}]`).join(", ")}];
  export const task_pid = () => process.pid;
  export const task_throw = ([index]) => { throw made[index][0]; };
  export const task_reject = async ([index]) => { throw made[index][0]; };
  export const task_give = ([index]) => made[index][0];
`;

test("whatever a task throws is a TASK_ERROR of one bounded line, and its worker lives on", async () => {
  using folder = tempFolder({ "tasks/robot.ts": tasks });
  await using engine = await startEngine({ cwd: folder.path, flags: ["--task-workers", "1", "--data-workers", "0"] });
  await using client = connect(engine.endpoint);
  const pid = await client.call("pid");
  for (const [index, [, message]] of things.entries()) {
    for (const task of ["throw", "reject"]) {
      const failure = await client.call(task, [index]).catch((thrown: unknown) => thrown);
      if (!(failure instanceof TaskEngineError)) throw failure;
      expect(failure.code).toBe("TASK_ERROR");
      expect(failure.message).toContain(message);
      expect(failure.message).not.toContain("\n");
      expect(failure.message.length).toBeLessThanOrEqual(1_000);
    }
    // To return it is to throw, or to give, something else, and harms nobody either.
    await client.call("give", [index]).catch((thrown: unknown) => expect(thrown).toMatchObject({ code: "TASK_ERROR" }));
  }
  expect(await client.call("pid")).toBe(pid);
  await engine.line(/^ {4}reason: Error: right: no power$/);
  expect(engine.errorLines.filter((line) => !/^( {4}|\[WORKER-|…)/.test(line))).toEqual([]);
});
