/** A place in the engine that is always filled: a role, and the process that has it at present. */
import { BegunRecord } from "../process/begun.ts";
import type { Child } from "./child.ts";
import type { Role } from "./roles.ts";

export class Slot {
  readonly role: Role;
  /** Which job the present child has begun last; task workers alone have such a record. */
  readonly record: BegunRecord | null;
  #child: Child | null = null;
  #filled = Promise.withResolvers<void>();

  /** Throws what the file system throws if it has no room for the record. */
  constructor(role: Role) {
    this.role = role;
    this.record = role.kind === "task worker" ? new BegunRecord() : null;
  }

  /** The one that has the place now or had it last; null if there is none to speak of. */
  get child(): Child | null {
    return this.#child;
  }

  fill(child: Child): void {
    this.#child = child;
    void child.online.then(() => {
      if (this.#child === child) this.#filled.resolve();
    });
  }

  /** Gives up the present child. The promise is kept when another one has the place and is online. */
  vacate(): Promise<void> {
    this.#child = null;
    this.#filled = Promise.withResolvers();
    return this.#filled.promise;
  }

  close(): void {
    this.record?.close();
  }
}
