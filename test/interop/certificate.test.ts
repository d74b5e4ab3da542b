/** Certificates of pyzmq's tools and ours are the same; where Debian's `python3-zmq` is missing this is left out. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { readKeyPair, readPublicKey, writeCertificate } from "../../src/security/certificate.ts";
import { makeKeyPair } from "../../src/security/keys.ts";
import { startEngine } from "../support/engine.ts";
import { tempFolder } from "../support/temp-folder.ts";

setDefaultTimeout(60_000); // on a busy machine

const python = "/usr/bin/python3";
const hasPyzmq = existsSync(python) && Bun.spawnSync([python, "-c", "import zmq"]).success;

const runScript = async (...args: string[]): Promise<string> => {
  const command = [python, join(import.meta.dir, "certificate.py"), ...args];
  const script = Bun.spawn(command, { stdout: "pipe", stderr: "pipe" });
  const [exitCode, stdout, stderr] = await Promise.all([script.exited, script.stdout.text(), script.stderr.text()]);
  if (exitCode !== 0) throw new Error(stderr);
  return stdout;
};

test.skipIf(!hasPyzmq && process.env.CI === undefined)(
  "pyzmq reads our certificates, we read those of pyzmq, and it is let in with its own",
  async () => {
    using folder = tempFolder();
    const ours = makeKeyPair();
    writeCertificate(folder.path, "ours", ours, false);
    const [publicKey, secretKey, theirPublicKey, theirSecretKey] = JSON.parse(await runScript(folder.path));
    expect({ publicKey, secretKey }).toEqual(ours);
    const theirs = readKeyPair(folder.at("theirs.key_secret"));
    expect(theirs).toEqual({ publicKey: theirPublicKey, secretKey: theirSecretKey });
    expect(readPublicKey(folder.at("theirs.key"))).toBe(theirPublicKey);

    await Bun.write(folder.at("authorized"), `${theirs.publicKey} theirs send:count\n`);
    await using engine = await startEngine({ flags: ["--key", folder.at("ours.key_secret")] });
    expect(await runScript(folder.path, engine.endpoint)).toBe("ACK 5\n");
  },
  60_000,
);
