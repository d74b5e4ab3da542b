/**
 * Who may do what, by the file of authorized clients: one a line, `KEY NAME RIGHT…`, KEY being the client's public key in Z85.
 * A line that is empty or begins with `# ` is a comment. Rights:
 * - `send` or `send:count,drive`: ask for all tasks, or for these;
 * - `read` or `read:arm/`, `write` or `write:arm/`: read and give data, of all topics or of those that begin so;
 * - `worker` or `worker:see`: join as a worker that serves all tasks, or these;
 * - `control`: see the engine's status, and cancel what others have asked for.
 *
 * Pure. A user is the name on the line of the key that a connection was authenticated by; null is one on a socket without
 * CURVE, where nobody is known and everybody may everything.
 */
import { authorizedTextLengthMax, nameLengthMax } from "../limits.ts";

export const rights = ["send", "read", "write", "control", "worker"] as const;
export type Right = (typeof rights)[number];

/** What each is for, in a few words for a person. */
export const rightMeanings: Readonly<Record<Right, string>> = {
  send: "run tasks, and stop the robot",
  read: "read and follow data",
  write: "give data",
  control: "status, cancel, estop, reset",
  worker: "join as a worker",
};

/** Of what a right is held or needed: tasks by their names, topics by how they begin. */
type Extent = "all" | readonly string[];

interface Client {
  /** Empty for the engine's own, who need none. */
  readonly key: string;
  readonly rights: ReadonlyMap<Right, Extent>;
}

/** The workers that the engine itself has started, which come by a socket of their own. No line of the file can have this name. */
export const engineUser = "(engine)";

/** Whoever was known when its connection was made, and is no more. Nobody's line of the file can have this name, either. */
export const formerUser = "(nobody)";

/** They serve all tasks, and what those publish has any topic. */
const engineRights: readonly (readonly [Right, Extent])[] = [
  ["worker", "all"],
  ["write", "all"],
];

/** Z85, ZeroMQ's RFC 32, of 32 bytes. */
const keyPattern = /^[0-9a-zA-Z.\-:+=^!/*?&<>()[\]{}@%$#]{40}$/;
const namePattern = /^[A-Za-z0-9][A-Za-z0-9_.@-]*$/;

export class Access {
  /** Lets in nobody but who cannot be known: what holds until there is a file. */
  static readonly nobody = new Access();

  readonly #names = new Map<string, string>();
  readonly #clients = new Map<string, Client>();

  private constructor() {}

  /** @returns who may what, the engine's own workers among them; or one line that says which line of the text is wrong, and why */
  static parse(text: string): Access | string {
    if (text.length > authorizedTextLengthMax) {
      return `${text.length} characters, the limit is ${authorizedTextLengthMax}`;
    }
    const access = new Access();
    access.#clients.set(engineUser, { key: "", rights: new Map(engineRights) });
    for (const [index, line] of text.split(/\r?\n/).entries()) {
      const mistake = access.#takeLine(line);
      if (mistake !== null) return `line ${index + 1}: ${mistake}`;
    }
    return access;
  }

  /** The name of whoever has this public key (Z85); null for a stranger. */
  nameOf(publicKey: string): string | null {
    return this.#names.get(publicKey) ?? null;
  }

  /** Whether that user may come in at all. */
  knows(user: string | null): boolean {
    return user === null || this.#clients.has(user);
  }

  /** Whether a user has this right, be it for some tasks or topics only. */
  hasSome(user: string | null, right: Right): boolean {
    return user === null || this.#clients.get(user)?.rights.has(right) === true;
  }

  /**
   * The right that a user lacks, as it would be written in the file (`send:drive`); null where nothing is missing.
   * @param of the task's name without `task_`, the topic or what topics begin with; left out or empty: all there are
   */
  missing(user: string | null, right: Right, of?: string): string | null {
    if (user === null) return null;
    const extent = this.#clients.get(user)?.rights.get(right);
    if (extent === "all" || (of !== undefined && extent !== undefined && covers(right, extent, of))) return null;
    return of === undefined || of === "" ? right : `${right}:${of}`;
  }

  /** Why a user is refused, for whoever asked; null where nothing is missing. As `missing`. */
  refusal(user: string | null, right: Right, of?: string): string | null {
    const missing = this.missing(user, right, of);
    if (missing === null) return null;
    return this.knows(user) ? `client ${user} lacks the right ${missing}` : this.refusalOfStranger(user);
  }

  /** As `refusal`, of one who was known by `before`: who has that name by now may be another. */
  refusalSince(before: Access, user: string | null, right: Right, of: string): string | null {
    return this.isAnotherSince(before, user) ? this.refusalOfStranger(user) : this.refusal(user, right, of);
  }

  /** Whether the name is another's by now than by `before`, or nobody's. */
  isAnotherSince(before: Access, user: string | null): boolean {
    return user !== null && before.keyOf(user) !== this.keyOf(user);
  }

  /** What is said to one who was known when its connection was made, and is no more. */
  refusalOfStranger(user: string | null): string {
    return user === formerUser ? "this key is not authorized any more" : `client ${user} is not authorized any more`;
  }

  /** The users who have another key in `next`, or less rights, or are not in it: their connections must end. */
  revokedIn(next: Access): string[] {
    return [...this.#clients].filter(([name, client]) => isRevoked(name, client, next)).map(([name]) => name);
  }

  /** The public key of a user, Z85; null for one who is not known. */
  keyOf(user: string): string | null {
    return this.#clients.get(user)?.key ?? null;
  }

  #add(name: string, client: Client): void {
    this.#names.set(client.key, name);
    this.#clients.set(name, client);
  }

  /** What is wrong with the line, or null. */
  #takeLine(line: string): string | null {
    // Not `#` alone: it can be the first character of a key.
    if (line.trim() === "" || line === "#" || line.startsWith("# ")) return null;
    const [key = "", name = "", ...words] = line.trim().split(/[ \t]+/);
    if (!keyPattern.test(key)) {
      return "begins with no public key, which has 40 characters of Z85 (a comment begins with `# `)";
    }
    if (!namePattern.test(name) || name.length > nameLengthMax) {
      return `has no name after the key: 1 to ${nameLengthMax} characters of A-Z a-z 0-9 _ . @ - beginning with a letter or digit`;
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

/** Adds what a word says to what is held already; or says what is wrong with the word. */
const addRight = (held: Map<Right, Extent>, word: string): string | null => {
  const colon = word.indexOf(":");
  const name = colon < 0 ? word : word.slice(0, colon);
  const right = rights.find((known) => known === name);
  if (right === undefined) return `has the right ${JSON.stringify(name)}, which is not one of ${rights.join(", ")}`;
  if (colon < 0) {
    held.set(right, "all");
    return null;
  }
  if (right === "control") return "limits `control`, which has no limits; write `control` alone";
  const items = word.slice(colon + 1).split(",");
  if (items.includes(""))
    return `has nothing between two marks in ${JSON.stringify(word)}; for all write ${right} alone`;
  const prefixed = isOfTasks(right) ? items.find((item) => /^task_/i.test(item)) : undefined;
  if (prefixed !== undefined) return `names the task ${prefixed}; write it without its prefix`;
  const before = held.get(right) ?? [];
  held.set(right, before === "all" ? "all" : [...before, ...items]);
  return null;
};

const isOfTasks = (right: Right): boolean => right === "send" || right === "worker";

const covers = (right: Right, extent: readonly string[], of: string): boolean =>
  isOfTasks(right) ? extent.includes(of) : extent.some((prefix) => of.startsWith(prefix));

const isRevoked = (name: string, { key, rights: held }: Client, next: Access): boolean =>
  next.keyOf(name) !== key ||
  [...held].some(([right, extent]) =>
    extent === "all"
      ? next.missing(name, right) !== null
      : extent.some((item) => next.missing(name, right, item) !== null),
  );
