/**
 * The rights of users, by the file of authorized clients: one a line, `KEY NAME RIGHT…`, where KEY
 * is the client's public key in Z85. A line that is empty or begins with `# ` is a comment. Rights:
 * - `send` or `send:count,drive`: request all tasks, or these;
 * - `read` or `read:arm/`, `write` or `write:arm/`: read and write data, of all topics or of those
 *   with this prefix;
 * - `worker` or `worker:see`: join as a worker for all tasks, or for these;
 * - `control`: read the engine's status, cancel the jobs of others, stop and reset the engine;
 * - `observe`: read the engine's status, everybody's jobs, and its own topics, which `read` without
 *   a list leaves out;
 * - `manage`: pause and resume tasks;
 * - `delegate`: ask for persons, each with rights that the request names, and no others.
 *
 * Pure. A user is the name in the line of the key by which a connection was authenticated. On a
 * socket of an engine without keys the user is null and has all rights.
 */
import { authorizedTextLengthMax, nameLengthMax } from "../limits.ts";

export const rights = ["send", "read", "write", "control", "worker", "observe", "manage", "delegate"] as const;
export type Right = (typeof rights)[number];

/** As messages explain them. */
export const rightMeanings: Readonly<Record<Right, string>> = {
  send: "run tasks, and stop the robot",
  read: "read and follow data",
  write: "give data",
  control: "status, cancel, estop, reset",
  worker: "join as a worker",
  observe: "status, jobs, and the life of the engine",
  manage: "pause and resume tasks",
  delegate: "ask for persons, by a gateway",
};

/** The extent of a right. `items`: names of tasks, or prefixes of topics. */
interface Extent {
  readonly isAll: boolean;
  readonly items: readonly string[];
}
const everything: Extent = { isAll: true, items: [] };

interface AuthorizedClient {
  /** Empty for the engine's own workers and its owner. */
  readonly key: string;
  readonly rights: ReadonlyMap<Right, Extent>;
}

/** The user of the engine's own workers. No line of the file can have this name. */
export const engineUser = "(engine)";

/**
 * The engine's own user, and root, at the engine's socket for local programs. No line can have this
 * name, either.
 */
export const ownerUser = "(owner)";

/** Names of the engine's own topics begin so. */
const ownTopicMark = "$";

/** The user of a connection whose key has lost its line. No line can have this name, either. */
export const formerUser = "(nobody)";

/** For all tasks, which may publish any topic. */
const engineRights: readonly (readonly [Right, Extent])[] = [
  ["worker", everything],
  ["write", everything],
];

/** The owner could take them: it can read the engine's key, and write the file. */
const ownerRights = rights.map((right) => [right, everything] as const);

/** Z85, ZeroMQ's RFC 32, of 32 bytes. */
const keyPattern = /^[0-9a-zA-Z.\-:+=^!/*?&<>()[\]{}@%$#]{40}$/;
const namePattern = /^[A-Za-z0-9][A-Za-z0-9_.@-]*$/;

export class Access {
  /** Rights of nobody but the engine's own workers and its owner: an empty file. */
  static readonly nobody = new Access();

  readonly #names = new Map<string, string>();
  readonly #clients = new Map<string, AuthorizedClient>([
    [engineUser, { key: "", rights: new Map(engineRights) }],
    [ownerUser, { key: "", rights: new Map(ownerRights) }],
  ]);

  private constructor() {}

  /** Returns one line that says which line of the text is wrong, and why, if it cannot be used. */
  static parse(text: string): Access | string {
    if (text.length > authorizedTextLengthMax) {
      return `${text.length} characters, the limit is ${authorizedTextLengthMax}`;
    }
    const access = new Access();
    for (const [index, line] of text.split(/\r?\n/).entries()) {
      const mistake = access.#takeLine(line);
      if (mistake !== null) return `line ${index + 1}: ${mistake}`;
    }
    return access;
  }

  /**
   * A person of a program with the right `delegate`. Returns the mistake in one line, if there is
   * one.
   */
  static ofPerson(name: string, words: readonly string[]): Access | string {
    if (!namePattern.test(name)) return `${JSON.stringify(name)} is no name of a person`;
    const held = new Map<Right, Extent>();
    for (const word of words) {
      const mistake = addRight(held, word);
      if (mistake !== null) return mistake;
    }
    const access = new Access();
    access.#clients.clear();
    access.#add(name, { key: "", rights: held });
    return access;
  }

  /** The user with this public key (Z85); null for an unknown one. */
  nameOf(publicKey: string): string | null {
    return this.#names.get(publicKey) ?? null;
  }

  knows(user: string | null): boolean {
    return user === null || this.#clients.has(user);
  }

  /** Returns true also if the user has the right for some tasks or topics only. */
  hasSome(user: string | null, right: Right): boolean {
    return user === null || this.#clients.get(user)?.rights.has(right) === true;
  }

  /**
   * The right that a user lacks, as the file would have it (`send:drive`); null for none.
   * @param of a task's name without `task_`, a topic or a prefix of topics; left out or empty for
   * all
   */
  missing(user: string | null, right: Right, of?: string): string | null {
    if (user === null) return null;
    const extent = this.#clients.get(user)?.rights.get(right);
    if (right === "read" && of?.startsWith(ownTopicMark)) {
      // They tell of everybody's jobs, so the right to read all values does not include them.
      return this.hasSome(user, "observe") || covers(right, extent, of) ? null : `${right}:${of}`;
    }
    if (extent?.isAll === true || (of !== undefined && covers(right, extent, of))) return null;
    return of === undefined || of === "" ? right : `${right}:${of}`;
  }

  /** As `missing`, as a message for the user. */
  refusal(user: string | null, right: Right, of?: string): string | null {
    const missing = this.missing(user, right, of);
    if (missing === null) return null;
    return this.knows(user) ? `client ${user} lacks the right ${missing}` : this.revokedKeyMessage(user);
  }

  /** As `refusal`, for a user of `before`, whose name may have another key by now. */
  refusalSince(before: Access, user: string | null, right: Right, of: string): string | null {
    return this.isAnotherSince(before, user) ? this.revokedKeyMessage(user) : this.refusal(user, right, of);
  }

  /** Returns true if the name has another key than in `before`, or none any more. */
  isAnotherSince(before: Access, user: string | null): boolean {
    return user !== null && before.keyOf(user) !== this.keyOf(user);
  }

  /** The message for a user who was known when its connection was made. */
  revokedKeyMessage(user: string | null): string {
    return user === formerUser ? "this key is not authorized any more" : `client ${user} is not authorized any more`;
  }

  /** Users with another key, less rights or no line in `next`: their connections must end. */
  revokedIn(next: Access): string[] {
    return [...this.#clients].filter(([name, client]) => isRevoked(name, client, next)).map(([name]) => name);
  }

  /** The public key of a user, Z85; null for an unknown one. */
  keyOf(user: string): string | null {
    return this.#clients.get(user)?.key ?? null;
  }

  #add(name: string, client: AuthorizedClient): void {
    this.#names.set(client.key, name);
    this.#clients.set(name, client);
  }

  /** Returns the mistake in the line, or null. */
  #takeLine(line: string): string | null {
    // A `#` alone begins no comment: it can be the first character of a key.
    if (line.trim() === "" || line === "#" || line.startsWith("# ")) return null;
    const [key = "", name = "", ...words] = line.trim().split(/[ \t]+/);
    if (!keyPattern.test(key)) {
      return "begins with no public key, which has 40 characters of Z85 (a comment begins with `# `)";
    }
    if (!namePattern.test(name) || name.length > nameLengthMax) {
      const form = `1 to ${nameLengthMax} characters of A-Z a-z 0-9 _ . @ - beginning with a letter or digit`;
      return `has no name after the key: ${form}`;
    }
    const other = this.nameOf(key);
    if (other !== null) return `has the key of ${other} again; a key has one line`;
    if (this.knows(name)) return `has the name ${name} again; a name has one key`;
    if (words.length === 0) return `gives ${name} no right; it takes at least one of ${rights.join(", ")}`;
    const held = new Map<Right, Extent>();
    for (const word of words) {
      const mistake = addRight(held, word);
      if (mistake !== null) return mistake;
    }
    this.#add(name, { key, rights: held });
    return null;
  }
}

/** Adds the right in a word. Returns the mistake in the word, or null. */
const addRight = (held: Map<Right, Extent>, word: string): string | null => {
  const colon = word.indexOf(":");
  const name = colon < 0 ? word : word.slice(0, colon);
  const right = rights.find((known) => known === name);
  if (right === undefined) return `has the right ${JSON.stringify(name)}, which is not one of ${rights.join(", ")}`;
  if (colon < 0) {
    // A list beside it counts, too: `read` alone does not include the engine's own topics.
    held.set(right, { isAll: true, items: held.get(right)?.items ?? [] });
    return null;
  }
  if (right === "control" || right === "observe" || right === "manage" || right === "delegate") {
    return `limits \`${right}\`, which has no limits; write \`${right}\` alone`;
  }
  const items = word.slice(colon + 1).split(",");
  if (items.includes(""))
    return `has nothing between two marks in ${JSON.stringify(word)}; for all write ${right} alone`;
  const prefixed = isOfTasks(right) ? items.find((item) => /^task_/i.test(item)) : undefined;
  if (prefixed !== undefined) return `names the task ${prefixed}; write it without its prefix`;
  const before = held.get(right);
  held.set(right, { isAll: before?.isAll === true, items: [...(before?.items ?? []), ...items] });
  return null;
};

const isOfTasks = (right: Right): boolean => right === "send" || right === "worker";

const covers = (right: Right, extent: Extent | undefined, of: string): boolean => {
  if (extent === undefined) return false;
  return isOfTasks(right) ? extent.items.includes(of) : extent.items.some((prefix) => of.startsWith(prefix));
};

const isRevoked = (name: string, { key, rights: held }: AuthorizedClient, next: Access): boolean =>
  next.keyOf(name) !== key ||
  [...held].some(
    ([right, { isAll, items }]) =>
      (isAll && next.missing(name, right) !== null) || items.some((item) => next.missing(name, right, item) !== null),
  );
