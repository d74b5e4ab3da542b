/** The places that are kept filled: a role each, and its process, which another follows. */
import { BegunRecord } from "../process/begun.ts";
import type { Child } from "./child.ts";
import type { Children } from "./children.ts";
import type { Role, Roles } from "./roles.ts";

/** A role, and the process that has it at present. */
export class Slot {
  readonly role: Role;
  /** The last job that the present child has begun; only task workers have a record. */
  readonly record: BegunRecord | null;
  #child: Child | null = null;
  #isClosed = false;
  #filled = Promise.withResolvers<void>();

  /** Throws the error of the file system if it has no room for the record. */
  constructor(role: Role) {
    this.role = role;
    this.record = role.kind === "task worker" ? new BegunRecord() : null;
  }

  /** The present or last child; null before the first, and after `vacate`. */
  get child(): Child | null {
    return this.#child;
  }

  fill(child: Child): void {
    this.#child = child;
    void child.online.then(() => {
      if (this.#child === child) this.#filled.resolve();
    });
  }

  /** Nobody has the role any more after the present child. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  close(): void {
    this.#isClosed = true;
  }

  /** Gives up the present child. Resolves when another one has the slot and is online. */
  vacate(): Promise<void> {
    this.#child = null;
    this.#filled = Promise.withResolvers();
    return this.#filled.promise;
  }
}

interface SlotKeeper {
  /** ms that a running job may take to finish before its worker is replaced. */
  readonly graceMs: number;
  /** Starts the role of this slot again after each end, until the slot is closed. */
  keepFilled(slot: Slot): void;
  /** The engine stops: nothing is replaced any more. */
  isStopping(): boolean;
  /** Resolves then. */
  readonly stopping: Promise<unknown>;
}

/**
 * All slots: those of the router and the workers, those that the task files ask for, and that of
 * the journal once it has had one.
 */
export class Slots {
  readonly #fixed: readonly Slot[];
  /** Slots of the roles that run while the task files have work for them. */
  readonly #others = new Map<Role, Slot>();
  readonly #journalRole: Role;
  readonly #apart: readonly Role[];
  #hasJournal = false;

  /** Throws as `Slot` does. */
  constructor(
    { router, workers, journal, gateway, link }: Roles,
    private readonly children: Children,
    private readonly keeper: SlotKeeper,
  ) {
    this.#fixed = [router, ...workers].map((role) => new Slot(role));
    this.#journalRole = journal;
    this.#apart = [gateway, link].filter((role) => role !== null);
  }

  /**
   * Starts all roles.
   * @param wanted those that the task files have work for. Throws as `Slot` does
   */
  fill(wanted: readonly Role[]): void {
    for (const slot of this.#fixed) this.keeper.keepFilled(slot);
    for (const role of wanted) void this.#add(role);
  }

  /**
   * Replaces all processes that have loaded task files, one by one. Resolves when that is done.
   * Rejects as `Slot` throws.
   */
  async renew(wanted: readonly Role[]): Promise<void> {
    for (const slot of this.#fixed) {
      if (slot.role.kind === "task worker") await this.#replace(slot);
    }
    for (const role of new Set([...this.#others.keys(), ...wanted])) {
      const slot = this.#others.get(role);
      if (slot === undefined) await this.#add(role);
      else if (wanted.includes(role)) await this.#replace(slot);
      else await this.#remove(slot);
    }
  }

  /**
   * Starts the journal, if it has not been started. Resolves when it has looked at its file. It
   * stays for the jobs that it has, even if no task is durable any more.
   */
  async openJournal(): Promise<void> {
    if (this.#hasJournal) return;
    this.#hasJournal = true;
    await this.#start(new Slot(this.#journalRole));
  }

  /** Starts the roles that the engine works without, and waits for none. Throws as `Slot` does. */
  openApart(): void {
    for (const role of this.#apart) this.keeper.keepFilled(new Slot(role));
  }

  async #add(role: Role): Promise<void> {
    if (this.keeper.isStopping()) return;
    const slot = new Slot(role);
    this.#others.set(role, slot);
    await this.#start(slot);
  }

  async #start(slot: Slot): Promise<void> {
    const online = slot.vacate();
    this.keeper.keepFilled(slot);
    await Promise.race([online, this.keeper.stopping]);
  }

  async #remove(slot: Slot): Promise<void> {
    this.#others.delete(slot.role);
    slot.close();
    await this.#dismiss(slot.child);
  }

  /** Lets a worker finish its job and leave. Resolves when its successor is online. */
  async #replace(slot: Slot): Promise<void> {
    if (this.keeper.isStopping()) return;
    const { child } = slot;
    const successor = slot.vacate();
    await this.#dismiss(child);
    await Promise.race([successor, this.keeper.stopping]);
  }

  async #dismiss(child: Child | null): Promise<void> {
    if (child === null || this.keeper.isStopping()) return;
    child.dismiss("the task files are read again");
    if (!child.hasEnded) await this.children.terminate((other) => other === child, this.keeper.graceMs);
  }
}
