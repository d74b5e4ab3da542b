import { expect, test } from "bun:test";
import { chmodSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { readKeyPair, readOwn, readPublicKey, writeCertificate } from "../../src/security/certificate.ts";
import { makeKeyPair, publicKeyOf } from "../../src/security/keys.ts";
import { tempFolder } from "../support/temp-folder.ts";

const pair = makeKeyPair();

test("a pair of keys is 40 characters each, new every time, and the public one follows from the secret one", () => {
  expect(pair.publicKey).toHaveLength(40);
  expect(publicKeyOf(pair.secretKey)).toBe(pair.publicKey);
  expect(makeKeyPair().secretKey).not.toBe(pair.secretKey);
  expect(() => publicKeyOf("short")).toThrow("cannot derive a public key");
});

test("a certificate is read as it was written, and only its owner can read the secret", () => {
  using folder = tempFolder();
  writeCertificate(folder.at("keys"), "robot", pair, false);
  expect(readKeyPair(folder.at("keys/robot.key_secret"))).toEqual(pair);
  expect(readPublicKey(folder.at("keys/robot.key"))).toBe(pair.publicKey);
  expect(readPublicKey(folder.at("keys/robot.key_secret"))).toBe(pair.publicKey);
  const modeOf = (name: string): string => (statSync(folder.at(name)).mode & 0o777).toString(8);
  expect(["keys", "keys/robot.key", "keys/robot.key_secret"].map(modeOf)).toEqual(["700", "644", "600"]);
  expect(readFileSync(folder.at("keys/robot.key"), "utf8")).not.toContain(pair.secretKey);
});

test("a certificate is never written over, half of one neither, unless it is forced", () => {
  using folder = tempFolder({ "robot.key": "precious" });
  expect(() => writeCertificate(folder.path, "robot", pair, false)).toThrow("robot.key exists");
  expect(readFileSync(folder.at("robot.key"), "utf8")).toBe("precious");
  expect(() => statSync(folder.at("robot.key_secret"))).toThrow("ENOENT");
  // A file that others could read, and a link, are replaced and not written into.
  writeFileSync(folder.at("robot.key_secret"), "old", { mode: 0o644 });
  writeFileSync(folder.at("elsewhere"), "untouched");
  writeCertificate(folder.path, "robot", pair, true);
  symlinkSync(folder.at("elsewhere"), folder.at("link.key_secret"));
  writeCertificate(folder.path, "link", pair, true);
  expect(readKeyPair(folder.at("robot.key_secret"))).toEqual(pair);
  expect(readFileSync(folder.at("elsewhere"), "utf8")).toBe("untouched");
});

test("a certificate that cannot be written over, even by force, stays as it is", () => {
  using folder = tempFolder({ "robot.key/in-the-way": "" });
  writeFileSync(folder.at("robot.key_secret"), "precious", { mode: 0o600 });
  expect(() => writeCertificate(folder.path, "robot", pair, true)).toThrow(
    "robot.key cannot be written: there is a folder",
  );
  expect(readFileSync(folder.at("robot.key_secret"), "utf8")).toBe("precious");
  expect(readdirSync(folder.path).sort()).toEqual(["robot.key", "robot.key_secret"]);
});

test("a secret that others can read, and a key that others can write, are refused with what to do", () => {
  using folder = tempFolder();
  writeCertificate(folder.path, "robot", pair, false);
  const secret = folder.at("robot.key_secret");
  for (const mode of [0o640, 0o604, 0o620]) {
    chmodSync(secret, mode);
    expect(() => readKeyPair(secret)).toThrow(`chmod 600 ${secret}`);
  }
  chmodSync(folder.at("robot.key"), 0o664);
  expect(() => readPublicKey(folder.at("robot.key"))).toThrow("can be written by others (mode 0664); chmod go-w");
});

test("what is no file of keys is refused in one line", () => {
  using folder = tempFolder({ "empty.key": "", "public.key": "" });
  writeCertificate(folder.path, "robot", pair, false);
  expect(() => readPublicKey(folder.at("none.key"))).toThrow("none.key cannot be read: there is no such file");
  expect(() => readPublicKey(folder.path)).toThrow("is not a file");
  expect(() => readPublicKey(folder.at("empty.key"))).toThrow("has no public-key of 40 characters");
  chmodSync(folder.at("robot.key"), 0o600);
  expect(() => readKeyPair(folder.at("robot.key"))).toThrow("has no secret-key of 40 characters");
  expect(() => readOwn(folder.at("robot.key"), "public", 10)).toThrow("is larger than 10 bytes");
  writeFileSync(folder.at("latin1.key"), Buffer.from("# key\n# of Andr\u00e9\n", "latin1"), { mode: 0o600 });
  expect(() => readPublicKey(folder.at("latin1.key"))).toThrow("latin1.key cannot be read: line 2 is not UTF-8");
  expect(Bun.spawnSync(["mkfifo", folder.at("pipe.key")]).success).toBe(true);
  expect(() => readPublicKey(folder.at("pipe.key"))).toThrow("is not a file");
});
