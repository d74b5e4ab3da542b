/**
 * task_engine.py as the processes of the engine run it: from memory, whatever becomes of the disk.
 */
import { writeSync } from "node:fs";
import { cString, libc } from "../transport/libc.ts";
import source from "./task_engine.py" with { type: "text" };

const closeOnExec = 1; // MFD_CLOEXEC, memfd_create(2)
const mayBeSealed = 2; // MFD_ALLOW_SEALING
const addSeals = 1033; // F_ADD_SEALS, fcntl(2)
const allSeals = 15; // F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE

export const programText = source;

/**
 * A descriptor of memory with this content, which nobody can change any more. Throws if the system
 * has none to give.
 */
export const sealedMemory = (content: Uint8Array): number => {
  const descriptor = libc.memfd_create(cString("task_engine.py"), closeOnExec | mayBeSealed);
  if (descriptor < 0) throw new Error("there is no memory for task_engine.py: memfd_create(2) is refused");
  for (let rest = content; rest.length > 0; ) rest = rest.subarray(writeSync(descriptor, rest));
  libc.fcntl(descriptor, addSeals, allSeals);
  return descriptor;
};

/**
 * The command that runs it in a role. Isolated: no variable of the environment, and no folder of
 * the user's, says what code it loads.
 * @param descriptor the child's number of the memory of `task_engine.py`
 */
export const pythonCommand = (interpreter: string, descriptor: number, argv: readonly string[]): readonly string[] => [
  interpreter,
  ...["-I", "-B", "-X", "utf8"],
  `/proc/self/fd/${descriptor}`,
  ...argv,
];
