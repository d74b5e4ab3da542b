/**
 * `keygen NAME` makes a pair of keys: `NAME.key`, which may be given to anybody, and `NAME.key_secret`, which never leaves
 * its owner. The engine takes its own by `serve --key`, a client or a worker of another machine by `--key`.
 *
 * Prints on stdout the line that lets the owner of this key in, to be added to the engine's file `authorized`; with the rights
 * `send read`, or those of `--rights`. On stderr it says what the two files are for, and which rights there are. The engine need not run.
 * Exits with 0; 1 if a file cannot be written, or is there already and `--force` is not given; 2 for wrong usage.
 */

import { warn } from "../process/log.ts";
import { Access, rightMeanings } from "../security/access.ts";
import { CertificateError, keysFolder, publicFile, secretFile, writeCertificate } from "../security/certificate.ts";
import { noHome } from "../security/files.ts";
import { defineCommand } from "./command.ts";
import { ExitError, UsageError } from "./exit.ts";
import { printResult } from "./output.ts";

export const keygenCommand = defineCommand({
  meta: { name: "keygen", description: "Make a pair of keys, for an engine, a client or a worker" },
  args: {
    name: { type: "positional", required: true, description: "Name of its owner, and of the files" },
    dir: { type: "string", valueHint: "folder", description: "Where to (default: ~/.config/task-engine)" },
    rights: {
      type: "string",
      default: "send read",
      description: `Rights in the line that is printed, of ${Object.keys(rightMeanings).join(", ")}`,
    },
    force: { type: "boolean", description: "Write over files that are there: whoever uses those keys is locked out" },
  },
  run: async ({ args: { name, dir: named, rights, force = false } }) => {
    const dir = named ?? keysFolder();
    if (dir === null) throw new UsageError(`${noHome()}; name a folder for the keys by --dir`);
    // Names of users on the wire and of files at once: what the file of authorized clients takes is fit for both.
    const { makeKeyPair } = await import("../security/keys.ts");
    const pair = makeKeyPair();
    const line = `${pair.publicKey} ${name} ${rights}`;
    const access = Access.parse(line);
    if (!(access instanceof Access)) throw new UsageError(access.replace("line 1: ", "the line for `authorized` "));
    if (access.nameOf(pair.publicKey) !== name)
      throw new UsageError(`NAME is ${JSON.stringify(name)}, which has spaces`);
    try {
      writeCertificate(dir, name, pair, force);
    } catch (failure) {
      throw failure instanceof CertificateError ? new ExitError(failure.message, 1) : failure;
    }
    for (const explanation of explanations(dir, name)) warn(explanation);
    await printResult(line);
  },
});

const explanations = (folder: string, name: string): string[] => [
  `Made ${publicFile(folder, name)}, the public key: an engine's is what its clients name by --server-key`,
  `Made ${secretFile(folder, name)}, the secret key: it stays here; serve, a client or a worker takes its own by --key`,
  `Rights: ${Object.entries(rightMeanings)
    .map(([right, meaning]) => `${right} (${meaning})`)
    .join("; ")}; a list narrows one: send:drive,turn read:arm/`,
  `For a client or a worker: this line in the file \`authorized\` beside the engine's key lets ${name} in, once the engine has reloaded`,
];
