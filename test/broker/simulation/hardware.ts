/**
 * What the simulated tasks drive: a resource is driven by one run at a time, and one that was let go of other than by its run
 * itself is not driven again before the `onStop` of that task has succeeded.
 */
import type { Policy } from "../../../src/protocol/policy.ts";
import { check } from "./ledger.ts";

/** One run of a task, in the process that it is in. */
export interface Driver {
  readonly name: string;
  readonly policy: Policy;
  /** Of a worker that the engine can kill. */
  readonly isSupervised: boolean;
}

export class Hardware {
  readonly #drivers = new Map<string, Set<Driver>>();
  /** By resource, the tasks whose runs were cut off with it. */
  readonly #unsafe = new Map<string, Set<string>>();

  begin(driver: Driver): void {
    for (const resource of driver.policy.resources ?? []) {
      const [other] = this.#drivers.get(resource) ?? [];
      check(other === undefined, `${driver.name} begins with ${resource}, which ${other?.name} drives`);
      const [unsafe] = this.#unsafe.get(resource) ?? [];
      check(unsafe === undefined, `${driver.name} begins with ${resource}, which ${unsafe} has not made safe`);
      setOf(this.#drivers, resource).add(driver);
    }
  }

  /** It has ended by itself, or its `onStop` has run in its process. */
  end(driver: Driver): void {
    for (const resource of driver.policy.resources ?? []) this.#drivers.get(resource)?.delete(driver);
  }

  /** It drives no more, and what it has driven goes on as it was. */
  cutOff(driver: Driver): void {
    this.end(driver);
    if (driver.policy.onStop !== true) return;
    for (const resource of driver.policy.resources ?? []) setOf(this.#unsafe, resource).add(driver.name);
  }

  /** The task's `onStop` begins, elsewhere than where it was cut off: whoever may drive on cannot be killed. */
  makeSafe({ resources = [] }: Policy): void {
    for (const resource of resources) {
      for (const driver of this.#drivers.get(resource) ?? [])
        check(!driver.isSupervised, `${resource} is made safe while ${driver.name} drives it`);
    }
  }

  /** The task's `onStop` has succeeded. */
  isSafe(task: string): void {
    for (const tasks of this.#unsafe.values()) tasks.delete(task);
  }
}

const setOf = <Item>(map: Map<string, Set<Item>>, key: string): Set<Item> => {
  const set = map.get(key) ?? new Set();
  map.set(key, set);
  return set;
};
