/**
 * What of Node is loaded when it is first called for: its functions for files take a quarter of a bare Bun's whole time, and `send` on
 * the robot itself needs none of them.
 */
export const fs = (): typeof import("node:fs") => process.getBuiltinModule("node:fs");

type Environment = Readonly<Record<string, string | undefined>>;

/** The user's own. null where HOME is no absolute path, or is not set and the system does not know the user. */
export const homeFolder = ({ HOME }: Environment = process.env): string | null => {
  const home = HOME || knownHome();
  return home?.startsWith("/") ? home : null;
};

/** That of the passwd(5) entry. */
const knownHome = (): string | null => {
  try {
    return process.getBuiltinModule("node:os").homedir();
  } catch {
    return null;
  }
};

/** Why there is none, in words that go on with what to do instead. */
export const noHome = (): string => {
  const { HOME } = process.env;
  if (HOME) return `HOME is ${JSON.stringify(HOME)}, which is not an absolute path`;
  return `there is no home folder: HOME is not set, and the system does not know user ${process.geteuid?.()}`;
};
