/**
 * What of Node is loaded when it is first called for: its functions for files take a quarter of a bare Bun's whole time, and `send` on
 * the robot itself needs none of them.
 */
export const fs = (): typeof import("node:fs") => process.getBuiltinModule("node:fs");

/** The user's own. */
export const homeFolder = (): string => process.env.HOME || process.getBuiltinModule("node:os").homedir();
