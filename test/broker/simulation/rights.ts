/** Who may what in a simulated engine, and how that changes while it runs. In an open engine everybody may everything. */
import type { OnBehalf } from "../../../src/protocol/frames.ts";
import { Access, engineUser, type Right } from "../../../src/security/access.ts";
import { echoMs } from "./ledger.ts";
import { taskNames } from "./tasks.ts";
import type { World } from "./world.ts";

/** What a request needs. */
export interface Need {
  readonly right: Right;
  readonly of: string;
}

/** Requestors that ask for persons, some of whom may not do what the requestor may. */
export const gateway = "gateway-1";
export const persons: readonly OnBehalf[] = [
  { name: "anna", rights: ["send", "read", "write"] },
  { name: "bo", rights: [`send:${taskNames.filter((_, index) => index % 2 === 0).join(",")}`, "read:p", "observe"] },
];

const clients = [
  gateway,
  "requestor-1",
  "requestor-2",
  "requestor-3",
  "requestor-4",
  "requestor-9",
  "absent-1",
  "durable-1",
  "old-1",
  "old-2",
  "old-3",
];
const helper = "helper";

export class Rights {
  readonly isOpen: boolean;
  /** How often each name has been given another key. */
  readonly #keys = new Map<string, number>();
  #access = Access.nobody;
  #before = Access.nobody;
  #changedAt = 0;

  constructor(private readonly world: World) {
    this.isOpen = world.random.chance(0.4);
  }

  /** The name of a requestor's key, which is never what it says of itself; here they are alike, to be read easily. */
  userOf(requestor: string): string | null {
    return this.isOpen ? null : requestor;
  }

  userOfWorker(isSupervised: boolean): string | null {
    if (this.isOpen) return null;
    return isSupervised ? engineUser : helper;
  }

  may(user: string | null, need: Need, person?: OnBehalf): boolean {
    return mayBy(this.#access, user, need, person);
  }

  /** Whether it may, or might before what was changed can be known everywhere. */
  mightJustNow(user: string | null, need: Need, person?: OnBehalf): boolean {
    if (this.may(user, need, person)) return true;
    return this.world.agenda.now <= this.#changedAt + echoMs && mayBy(this.#before, user, need, person);
  }

  /** Another file of authorized clients. */
  change(): void {
    if (this.isOpen) return;
    const { world } = this;
    const lines = [
      ...clients.map((name) => this.#line(name)),
      this.#helpersLine(),
      this.#keyed("operator", "control observe manage"),
    ];
    const access = Access.parse(lines.filter((line) => line !== null).join("\n"));
    if (typeof access === "string") throw new Error(access);
    this.#before = this.#access;
    this.#access = access;
    this.#changedAt = world.agenda.now;
    const before = this.#before;
    world.ledger.rightsChanged(
      ({ user, need, person }) =>
        (user === null || before.keyOf(user) === access.keyOf(user)) && this.may(user, need, person),
      world.agenda.now,
    );
    this.tell();
  }

  /** The router is told who may what, be it a new one. */
  tell(): void {
    if (!this.isOpen) this.world.router.handle({ type: "access", access: this.#access });
  }

  #line(name: string): string | null {
    const { random } = this.world;
    if (random.chance(0.1)) return null;
    const words = [
      this.#word("send", taskNames),
      this.#word("read", ["p", "batt"]),
      this.#word("write", ["pose", "b"]),
      random.chance(0.8) ? "delegate" : null,
    ];
    const rights = words.filter((word) => word !== null);
    return rights.length === 0 ? null : this.#keyed(name, rights.join(" "));
  }

  #helpersLine(): string | null {
    const word = this.#word("worker", taskNames);
    return word === null ? null : this.#keyed(helper, word);
  }

  #keyed(name: string, rights: string): string {
    const count = (this.#keys.get(name) ?? 0) + (this.world.random.chance(0.1) ? 1 : 0);
    this.#keys.set(name, count);
    return `${`${name}.${count}`.padEnd(40, "k")} ${name} ${rights}`;
  }

  #word(right: Right, items: readonly string[]): string | null {
    const { random } = this.world;
    if (random.chance(0.5)) return right;
    const some = items.filter(() => random.chance(0.7));
    return some.length === 0 ? null : `${right}:${some.join(",")}`;
  }
}

/** A person may what both it and the requestor may. */
const mayBy = (access: Access, user: string | null, { right, of }: Need, person: OnBehalf | undefined): boolean => {
  if (access.missing(user, right, of) !== null) return false;
  if (person === undefined) return true;
  const own = Access.ofPerson(person.name, person.rights);
  if (typeof own === "string") throw new Error(own);
  return access.missing(user, "delegate") === null && own.missing(person.name, right, of) === null;
};
