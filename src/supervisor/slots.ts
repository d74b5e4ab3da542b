/** The places that are kept filled: a role each, and its process, which another follows. */
import { BegunRecord } from "../process/begun.ts";
import type { Child } from "./child.ts";
import type { Children } from "./children.ts";
import type { Role, Roles } from "./roles.ts";

/** A role, and the process that has it at present. */
export class Slot {
  readonly role: Role;
  /** Which job the present child has begun last; only task workers have one. */
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
 * All slots: those of the router and the workers, that of the source worker while it has one, and
 * that of the journal once it has had one.
 */
export class Slots {
  readonly #fixed: readonly Slot[];
  readonly #sourceRole: Role;
  #source: Slot | null = null;
  readonly #journalRole: Role;
  #hasJournal = false;

  /** Throws as `Slot` does. */
  constructor(
    { router, workers, source, journal }: Roles,
    private readonly children: Children,
    private readonly keeper: SlotKeeper,
  ) {
    this.#fixed = [router, ...workers].map((role) => new Slot(role));
    this.#sourceRole = source;
    this.#journalRole = journal;
  }

  /** Starts all roles. @param hasSources the task files have some */
  fill(hasSources: boolean): void {
    for (const slot of this.#fixed) this.keeper.keepFilled(slot);
    if (hasSources) void this.#addSource();
  }

  /** Replaces all processes that have loaded task files, one by one. Resolves when that is done. */
  async renew(hasSources: boolean): Promise<void> {
    for (const slot of this.#fixed) {
      if (slot.role.kind === "task worker") await this.#replace(slot);
    }
    if (this.#source === null) await (hasSources ? this.#addSource() : undefined);
    else if (hasSources) await this.#replace(this.#source);
    else await this.#removeSource(this.#source);
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

  async #addSource(): Promise<void> {
    if (this.keeper.isStopping()) return;
    this.#source = new Slot(this.#sourceRole);
    await this.#start(this.#source);
  }

  async #start(slot: Slot): Promise<void> {
    const online = slot.vacate();
    this.keeper.keepFilled(slot);
    await Promise.race([online, this.keeper.stopping]);
  }

  async #removeSource(slot: Slot): Promise<void> {
    this.#source = null;
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
