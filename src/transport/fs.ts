/**
 * The functions of node:fs, loaded at the first call. Loading them takes a quarter of the whole
 * time of a bare Bun, and `send` on the robot itself needs none of them.
 */
export const fs = (): typeof import("node:fs") => process.getBuiltinModule("node:fs");

/**
 * The folder that `node:os` names, too; that module would cost each process an eighth of a
 * megabyte.
 */
export const temporaryFolder = (): string => process.env.TMPDIR || process.env.TMP || process.env.TEMP || "/tmp";
