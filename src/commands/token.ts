/**
 * `token NAME RIGHT…` makes a token for the gateway: by it a person, a browser or a program may do
 * what the rights say. Appends a line to the file of tokens, with the token's hash, and makes the
 * file if there is none. A running gateway reads it within a second.
 *
 * Needs no engine. Prints the token on stdout, the only time that it is ever shown; on stderr how
 * to use it. To take it back, delete its line.
 *
 * Exits with 0; 1 if the file cannot be read or written, or the name has a token already; 2 for
 * wrong usage.
 */
import { appendFileSync, mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { digestOf, newToken, personsIn } from "../gateway/tokens.ts";
import { authorizedTextLengthMax } from "../limits.ts";
import { warn } from "../process/log.ts";
import { rightMeanings } from "../security/access.ts";
import { CertificateError, keysFolder, readOwn } from "../security/certificate.ts";
import { noHome } from "../security/files.ts";
import { isThere } from "../transport/libc.ts";
import { defineCommand, ExitError, UsageError } from "./command.ts";
import { printResult } from "./output.ts";

export const tokenCommand = defineCommand({
  meta: { name: "token", description: "Make a token, by which a person may use the gateway" },
  args: {
    name: { type: "positional", required: true, description: "Who gets it, as events and the log say it" },
    "right...": {
      type: "positional",
      required: true,
      description: `Rights: ${Object.keys(rightMeanings).join(", ")}; a list narrows one: send:drive,turn read:arm/`,
    },
    tokens: {
      type: "string",
      valueHint: "file",
      description: "File of tokens (default: ~/.config/task-engine/tokens)",
    },
  },
  run: async ({ args }) => {
    const folder = keysFolder();
    const path = args.tokens ?? (folder === null ? null : `${folder}/tokens`);
    if (path === null) throw new UsageError(`${noHome()}; name a file by --tokens`);
    const [name = "", ...rights] = args._;
    const token = newToken();
    const line = `${[digestOf(token), name, ...rights].join(" ")}\n`;
    const mistake = mistakeIn(line);
    if (mistake !== null) throw new UsageError(mistake.replace("line 1: ", "the line for the file "));
    const present = textOf(path);
    const all = present === "" || present.endsWith("\n") ? `${present}${line}` : `${present}\n${line}`;
    const conflict = mistakeIn(all);
    if (conflict !== null) throw new ExitError(`${path}: ${conflict}; delete that line, or choose another name`, 1);
    append(path, all.slice(present.length));
    warn(`Added ${name} to ${path}; the gateway takes it by --tokens ${path}`);
    warn("The token is shown this once. A browser asks for it; a program sends `Authorization: Bearer TOKEN`");
    try {
      await printResult(token);
    } catch (failure) {
      if (!(failure instanceof ExitError)) throw failure;
      throw new ExitError(`${failure.message}; nobody knows the token: delete the line of ${name} in ${path}`, 1);
    }
  },
});

const mistakeIn = (text: string): string | null => {
  const persons = personsIn(text);
  return typeof persons === "string" ? persons : null;
};

/** Empty if there is no file yet. */
const textOf = (path: string): string => {
  if (!isThere(path)) return "";
  try {
    return readOwn(path, "secret", authorizedTextLengthMax);
  } catch (failure) {
    throw failure instanceof CertificateError ? new ExitError(failure.message, 1) : failure;
  }
};

const append = (path: string, text: string): void => {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    appendFileSync(path, text, { mode: 0o600, flush: true });
  } catch (failure) {
    throw new ExitError(`${path} cannot be written: ${(failure as Error).message}`, 1);
  }
};
