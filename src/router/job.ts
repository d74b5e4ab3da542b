/** A job: one request to run one task, or to give or get one value, from acceptance to its one terminal reply. */
import type { Meta } from "../wire/frames.ts";

/** The envelope that a reply needs to find who asked. Opaque to the broker. */
export type Requestor = readonly Uint8Array[];

export interface Job {
  readonly id: number;
  readonly kind: "task" | "put" | "get";
  /** The task's name, or the topic. */
  readonly name: string;
  /** Which queue it waits in: what a worker must serve to get it. */
  readonly queue: string;
  /** The TASK or DATA frame as it came; empty for `get`. */
  readonly body: Uint8Array;
  /** null: nobody waits for an answer (a task's own publication). */
  readonly requestor: Requestor | null;
  readonly meta: Pick<Meta, "version" | "serial">;
}

/** Queue of a task, and of the topics that one data worker keeps. */
export const taskQueue = (name: string): string => `task ${name}`;
export const dataQueue = (endpoint: string): string => `data ${endpoint}`;
