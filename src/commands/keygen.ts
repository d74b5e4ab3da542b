/**
 * `keygen NAME` makes a pair of keys: the public key `NAME.key` and the secret key
 * `NAME.key_secret`, which never leaves its machine. The engine takes its own by `serve --key`, a
 * client or a worker of another machine by `--key`.
 *
 * Needs no engine. Prints on stdout the line for the engine's file `authorized`, with the rights
 * `send read` or those of `--rights`; on stderr the use of the two files and all rights.
 *
 * Exits with 0; 1 if a file cannot be written, or exists and `--force` is not given; 2 for wrong
 * usage.
 */
import { warn } from "../process/log.ts";
import { Access, rightMeanings } from "../security/access.ts";
import { CertificateError, keysFolder, publicFile, secretFile, writeCertificate } from "../security/certificate.ts";
import { noHome } from "../security/files.ts";
import { defineCommand, ExitError, UsageError } from "./command.ts";
import { printResult } from "./output.ts";

export const keygenCommand = defineCommand({
  meta: { name: "keygen", description: "Make a pair of keys, for an engine, a client or a worker" },
  args: {
    name: { type: "positional", required: true, description: "Name of the owner, and of the files" },
    dir: { type: "string", valueHint: "folder", description: "Folder for the keys (default: ~/.config/task-engine)" },
    rights: {
      type: "string",
      default: "send read",
      description: `Rights in the line that is printed, of ${Object.keys(rightMeanings).join(", ")}`,
    },
    force: { type: "boolean", description: "Replace files that exist: the users of those keys are locked out" },
  },
  run: async ({ args: { name, dir: named, rights, force = false } }) => {
    const dir = named ?? keysFolder();
    if (dir === null) throw new UsageError(`${noHome()}; name a folder for the keys by --dir`);
    // NAME is a user and a file. The file of authorized clients accepts only names that suit both.
    const { makeKeyPair } = await import("../security/keys.ts");
    const pair = makeKeyPair();
    const line = `${pair.publicKey} ${name} ${rights}`;
    const access = Access.parse(line);
    if (!(access instanceof Access)) throw new UsageError(access.replace("line 1: ", "the line for `authorized` "));
    if (access.nameOf(pair.publicKey) !== name) {
      throw new UsageError(`NAME is ${JSON.stringify(name)}, which has spaces`);
    }
    try {
      writeCertificate(dir, name, pair, force);
    } catch (failure) {
      throw failure instanceof CertificateError ? new ExitError(failure.message, 1) : failure;
    }
    for (const explanation of explanations(dir, name)) warn(explanation);
    await printResult(line);
  },
});

const explanations = (folder: string, name: string): string[] => {
  const rights = Object.entries(rightMeanings).map(([right, meaning]) => `${right} (${meaning})`);
  return [
    `Made ${publicFile(folder, name)}, the public key: clients name an engine's by --server-key`,
    `Made ${secretFile(folder, name)}, the secret key: it stays here; serve, clients and workers name it by --key`,
    `Rights: ${rights.join("; ")}; a list narrows one: send:drive,turn read:arm/`,
    "For a client or a worker: add this line to the file `authorized` beside the engine's key, and reload the engine",
  ];
};
