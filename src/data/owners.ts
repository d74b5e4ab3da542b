/** The data workers that share the topics, as the router says it where there are several. */
import { isEngineTopic } from "../protocol/engine-topics.ts";
import { ownerOf } from "../protocol/owner.ts";
import type { DataWorkerPorts } from "../protocol/ready.ts";

export class Owners {
  #dataWorkers: readonly DataWorkerPorts[] = [];
  #endpoints: readonly string[] = [];
  #own = "";

  /** None where this is the only one. */
  get dataWorkers(): readonly DataWorkerPorts[] {
    return this.#dataWorkers;
  }

  /**
   * From now on these share them.
   * @param own endpoint for publications of this one, which is not among them if it leaves
   */
  set(dataWorkers: readonly DataWorkerPorts[], own: string): void {
    this.#dataWorkers = dataWorkers;
    this.#endpoints = dataWorkers.map(({ publications }) => publications);
    this.#own = own;
  }

  /** The endpoint of the data worker that a topic belongs to. */
  of(topic: string): string {
    return ownerOf(topic, this.#endpoints) ?? this.#own;
  }

  /** Each data worker has the engine's own topics. */
  owns(topic: string): boolean {
    return this.#endpoints.length === 0 || isEngineTopic(topic) || this.of(topic) === this.#own;
  }
}
