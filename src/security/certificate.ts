/**
 * Key pairs in files, in the format of ZeroMQ's tools (ZPL, https://rfc.zeromq.org/spec/4):
 * `NAME.key` with the public key, `NAME.key_secret` with both. A file is refused if others can read
 * the secret key or write the public one.
 */
import { certificateBytesMax } from "../limits.ts";
import { fs } from "../transport/fs.ts";
import { homeFolder, OpenedFile } from "./files.ts";

/** Keys of 32 bytes, in Z85. */
export interface KeyPair {
  readonly publicKey: string;
  readonly secretKey: string;
}

/** A file of keys that cannot be used or made; `message` is one line, with path and remedy. */
export class CertificateError extends Error {
  override readonly name = "CertificateError";
}

/** The default folder of keys; null without a home folder. */
export const keysFolder = (): string | null => {
  const home = homeFolder();
  return home === null ? null : `${home}/.config/task-engine`;
};

export const publicFile = (folder: string, name: string): string => `${folder}/${name}.key`;
export const secretFile = (folder: string, name: string): string => `${folder}/${name}.key_secret`;

/** 40 characters of Z85 (https://rfc.zeromq.org/spec/32). */
export const keyPattern = /^[0-9a-zA-Z.\-:+=^!/*?&<>()[\]{}@%$#]{40}$/;

/** Both keys of `NAME.key_secret`. Throws CertificateError. */
export const readKeyPair = (path: string): KeyPair => {
  const text = readOwn(path, "secret", certificateBytesMax);
  return { publicKey: keyIn(text, "public-key", path), secretKey: keyIn(text, "secret-key", path) };
};

/** The public key of `NAME.key`. Throws CertificateError. */
export const readPublicKey = (path: string): string =>
  keyIn(readOwn(path, "public", certificateBytesMax), "public-key", path);

/**
 * Writes both files into a folder, which it makes for its owner alone if there is none. Throws
 * CertificateError.
 * @param force replaces existing files; else they are an error, and stay
 */
export const writeCertificate = (folder: string, name: string, pair: KeyPair, force: boolean): void => {
  const files = [
    { path: secretFile(folder, name), text: secretText(pair), mode: 0o600 },
    { path: publicFile(folder, name), text: publicText(pair), mode: 0o644 },
  ];
  const written: string[] = [];
  try {
    fs().mkdirSync(folder, { recursive: true, mode: 0o700 });
    // Old files stay until both new ones are written: a full disk must not cost a person the key.
    for (const { path, text, mode } of files) {
      if (force) mustBeReplaceable(path);
      const target = force ? draftOf(path) : path;
      if (force) fs().rmSync(target, { force: true });
      fs().writeFileSync(target, text, { mode, flag: "wx" });
      written.push(target);
      fs().chmodSync(target, mode); // whatever the umask
    }
    // Renames replace a file of another mode, or a link.
    if (force) for (const { path } of files) fs().renameSync(draftOf(path), path);
  } catch (error) {
    // Half a certificate would make the next try fail.
    for (const path of written) fs().rmSync(path, { force: true });
    const { code, message, path = folder } = error as NodeJS.ErrnoException;
    throw new CertificateError(
      code === "EEXIST"
        ? `${path} exists, and the users of its key would be locked out; --force replaces it`
        : `${path} cannot be written: ${message}; fix it, or name another folder by --dir`,
    );
  }
};

const draftOf = (path: string): string => `${path}.new`;

const mustBeReplaceable = (path: string): void => {
  if (fs().lstatSync(path, { throwIfNoEntry: false })?.isDirectory() !== true) return;
  throw Object.assign(new Error("there is a folder of that name"), { path });
};

/** The text of a file of this user or root. Throws CertificateError with path and remedy. */
export const readOwn = (path: string, kind: "secret" | "public", bytesMax: number): string => {
  using file = opened(path);
  const { uid, mode, size } = file.stats;
  if (!file.stats.isFile()) throw new CertificateError(`${path} is not a file`);
  if (size > bytesMax) throw new CertificateError(`${path} is larger than ${bytesMax} bytes`);
  const own = process.geteuid?.() ?? 0;
  if (uid !== own && uid !== 0) {
    throw new CertificateError(`${path} belongs to user ${uid}, not to ${own} or root; chown ${own} ${path}`);
  }
  const permissions = (mode & 0o7777).toString(8).padStart(4, "0");
  if (kind === "secret" && (mode & 0o077) !== 0) {
    throw new CertificateError(
      `${path} is a secret that others can read or write (mode ${permissions}); chmod 600 ${path}`,
    );
  }
  if ((mode & 0o022) !== 0) {
    throw new CertificateError(`${path} can be written by others (mode ${permissions}); chmod go-w ${path}`);
  }
  try {
    return file.text();
  } catch (error) {
    throw new CertificateError(`${path} cannot be read: ${error instanceof Error ? error.message : error}`);
  }
};

const opened = (path: string): OpenedFile => {
  try {
    return new OpenedFile(path);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new CertificateError(`${path} cannot be read: ${code === "ENOENT" ? "there is no such file" : message}`);
  }
};

const keyIn = (text: string, field: "public-key" | "secret-key", path: string): string => {
  const quoted = new RegExp(`^\\s+${field}\\s*=\\s*(["'])(\\S+)\\1\\s*$`, "m").exec(text);
  const key = quoted?.[2] ?? "";
  if (keyPattern.test(key)) return key;
  const wanted = field === "secret-key" ? "NAME.key_secret" : "NAME.key or NAME.key_secret";
  throw new CertificateError(
    `${path} has no ${field} of 40 characters; a file ${wanted} of task-engine keygen is meant`,
  );
};

const publicText = ({ publicKey }: KeyPair): string => `# Public key, which may be given to anybody.

metadata
curve
    public-key = "${publicKey}"
`;

const secretText = ({
  publicKey,
  secretKey,
}: KeyPair): string => `# Secret key, which proves its owner's identity. No other user may read it.

metadata
curve
    public-key = "${publicKey}"
    secret-key = "${secretKey}"
`;
