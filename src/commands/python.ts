/**
 * `python` prints task_engine.py, the client and worker for Python, for programs and machines that
 * have no engine: `task-engine python > task_engine.py`.
 *
 * Needs no engine. Exits with 0; 1 if stdout cannot be written.
 */
import { programText } from "../python/program.ts";
import { defineCommand } from "./command.ts";
import { writeOut } from "./output.ts";

export const pythonCommand = defineCommand({
  meta: { name: "python", description: "Print task_engine.py, the client and worker for Python" },
  run: () => writeOut(programText),
});
