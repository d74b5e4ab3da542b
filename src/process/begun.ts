/**
 * A record of the job that a worker has begun last, in memory that outlives the worker. The worker
 * writes before a job begins; the supervisor made the file, gave it to the worker as an open
 * descriptor, and reads it when the worker is dead. So it is known even after SIGKILL which job had
 * begun and must not run again, and which task's job has killed the worker.
 *
 * The file has no name and lies in memory (/dev/shm, else the temporary folder): it ends with its
 * descriptors.
 */
import { closeSync, ftruncateSync, openSync, readSync, unlinkSync, writeSync } from "node:fs";
import { join } from "node:path";
import { nameLengthMax, workerTasksMax } from "../limits.ts";
import { temporaryFolder } from "../transport/fs.ts";
import { channelDescriptor } from "./channel.ts";

/*
 * At 0: the router's number of the last job that has begun (a double), 0 for none. Then four times
 * 32 bits, lowest byte first: the last task that has begun and the task that is to blame for the
 * end, both as places in the list of names from 1 on; in between, 1 while that job runs; the length
 * of the list in bytes. From 64 on: the list, as JSON.
 */
const lastAt = 8;
const runsAt = 12;
const culpritAt = 16;
const namesLengthAt = 20;
const marksBytes = 64;
/** bytes. Pages that are never written take up no memory. */
const recordBytes = 4096 + workerTasksMax * (nameLengthMax + 4);
/** In the place of a task to blame: code that belongs to no task. */
const nobody = 0xffff_ffff;

/** The worker's descriptor of the record: the first after the channel. */
const begunDescriptor = channelDescriptor + 1;

/** The content of the record. */
export interface Begun {
  /** The router's number of its last job that has begun; 0 for none. */
  readonly job: number;
  /** The task of the last job that has begun, be it of the worker's own port; null for none. */
  readonly task: string | null;
  /** True if that job, or the `onStop` after it, was running. */
  readonly runs: boolean;
  /** The task to blame, by the worker itself; null for other code, undefined if it has not said. */
  readonly culprit: string | null | undefined;
}

/** The supervisor's end. */
export class BegunRecord {
  readonly descriptor: number;

  constructor() {
    this.descriptor = openUnnamed();
    ftruncateSync(this.descriptor, recordBytes);
  }

  read(): Begun {
    const bytes = Buffer.alloc(recordBytes);
    readSync(this.descriptor, bytes, 0, recordBytes, 0);
    const namesEnd = marksBytes + bytes.readUInt32LE(namesLengthAt);
    const names = readNames(bytes.subarray(marksBytes, namesEnd));
    const nameAt = (offset: number): string | null => names[bytes.readUInt32LE(offset) - 1] ?? null;
    return {
      job: bytes.readDoubleLE(0),
      task: nameAt(lastAt),
      runs: bytes.readUInt32LE(runsAt) !== 0,
      culprit: bytes.readUInt32LE(culpritAt) === 0 ? undefined : nameAt(culpritAt),
    };
  }

  /** Prepares the record for the next worker. */
  clear(): void {
    writeSync(this.descriptor, Buffer.alloc(marksBytes), 0, marksBytes, 0);
  }

  close(): void {
    closeSync(this.descriptor);
  }
}

/** Untrusted: a task can write anything into its worker's end of the record. */
const readNames = (bytes: Uint8Array): readonly string[] => {
  try {
    const names: unknown = JSON.parse(Buffer.from(bytes).toString());
    return Array.isArray(names) ? names.map(String) : [];
  } catch {
    return [];
  }
};

const openUnnamed = (): number => {
  const name = `task-engine-${crypto.randomUUID()}`;
  for (const folder of ["/dev/shm", temporaryFolder()]) {
    const path = join(folder, name);
    try {
      const descriptor = openSync(path, "wx+", 0o600);
      unlinkSync(path);
      return descriptor;
    } catch (error) {
      // Some systems have no /dev/shm, or do not let everybody write there.
      if (folder !== "/dev/shm") throw error;
    }
  }
  throw new Error("there is no folder for the record of begun jobs");
};

/** The worker's end. */
export class BegunMarks {
  readonly #view: DataView;
  readonly #places = new Map<string, number>();

  /** @param bytes the record, mapped */
  constructor(bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Sets the names of all tasks. To be called before one begins. */
  list(names: Iterable<string>): void {
    const all = [...names];
    for (const [index, name] of all.entries()) this.#places.set(name, index + 1);
    const bytes = Buffer.from(JSON.stringify(all));
    new Uint8Array(this.#view.buffer, this.#view.byteOffset + marksBytes).set(bytes);
    this.#view.setUint32(namesLengthAt, bytes.byteLength, true);
  }

  /** A job of the router begins. */
  job(id: number): void {
    this.#view.setFloat64(0, id, true);
  }

  /** A job of this task, or its `onStop` alone, begins. */
  task(name: string): void {
    this.#view.setUint32(lastAt, this.#places.get(name) ?? 0, true);
    this.#view.setUint32(runsAt, 1, true);
  }

  /** The same has ended. */
  ended(): void {
    this.#view.setUint32(runsAt, 0, true);
  }

  /** The process ends by the code of this task, or by other code (null). */
  blame(name: string | null): void {
    this.#view.setUint32(culpritAt, name === null ? nobody : (this.#places.get(name) ?? nobody), true);
  }
}

export const mapBegunRecord = (): BegunMarks =>
  new BegunMarks(Bun.mmap(`/proc/self/fd/${begunDescriptor}`, { shared: true }));
