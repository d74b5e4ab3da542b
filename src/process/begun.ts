/**
 * What a worker was at: some bytes that outlive it. It writes there which job it begins, before it begins it, and which task's
 * code runs; the supervisor, who made the file and handed it over as an open descriptor, reads that when the worker is dead. So
 * it is known, even after SIGKILL, what had begun and must not be run again, what had not and may be, and which task's job
 * has killed its worker.
 *
 * The file has no name and lies in memory (/dev/shm, else the temporary folder): it ends with those who hold it.
 */
import { closeSync, ftruncateSync, openSync, readSync, unlinkSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { nameLengthMax, workerTasksMax } from "../limits.ts";
import { channelDescriptor } from "./channel.ts";

/*
 * At 0 the router's number of the job that was begun last (a double, so 53 bits of a whole number), 0 for none. Then four times 32
 * bits: the task that was begun last and the one whose fault the end is, both by their places in the list of names, from 1 on, and
 * `nobody`; whether that task's job still runs; the length of the list. From 64 on the list, as JSON. Lowest byte first.
 */
const lastAt = 8;
const runsAt = 12;
const culpritAt = 16;
const namesLengthAt = 20;
const marksBytes = 64;
/** A page is the least that can be mapped; what is never written to takes up nothing. */
const recordBytes = 4096 + workerTasksMax * (nameLengthMax + 4);
/** The end is the fault of code that belongs to no task. */
const nobody = 0xffff_ffff;

/** The descriptor under which a worker finds it: the first after the channel's. */
export const begunDescriptor = channelDescriptor + 1;

/** What a dead worker was at. */
export interface Begun {
  /** The router's number of the job that was begun last; 0 for none. */
  readonly job: number;
  /** The task of the job that it had begun last, one of its own port among them; null for none. */
  readonly task: string | null;
  /** Whether that job, or the `onStop` after it, still ran. */
  readonly runs: boolean;
  /** Whose code has ended the process, by its own word: a task, or null for code that belongs to none; undefined where it has not said. */
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

  /** For the next worker, which has begun nothing yet. */
  clear(): void {
    writeSync(this.descriptor, Buffer.alloc(marksBytes), 0, marksBytes, 0);
  }

  close(): void {
    closeSync(this.descriptor);
  }
}

/** A task can reach its worker's end of the record, and write there what it likes. */
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
  for (const folder of ["/dev/shm", tmpdir()]) {
    const path = join(folder, name);
    try {
      const descriptor = openSync(path, "wx+", 0o600);
      unlinkSync(path);
      return descriptor;
    } catch (error) {
      // Not every system has /dev/shm, or lets everybody write there.
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

  /** Which tasks there are: to be called before one begins. */
  list(names: Iterable<string>): void {
    const all = [...names];
    for (const [index, name] of all.entries()) this.#places.set(name, index + 1);
    const bytes = Buffer.from(JSON.stringify(all));
    new Uint8Array(this.#view.buffer, this.#view.byteOffset + marksBytes).set(bytes);
    this.#view.setUint32(namesLengthAt, bytes.byteLength, true);
  }

  /** The router's job of this number begins. */
  job(id: number): void {
    this.#view.setFloat64(0, id, true);
  }

  /** A job of this task begins, or its `onStop` alone. */
  task(name: string): void {
    this.#view.setUint32(lastAt, this.#places.get(name) ?? 0, true);
    this.#view.setUint32(runsAt, 1, true);
  }

  /** It has ended. */
  ended(): void {
    this.#view.setUint32(runsAt, 0, true);
  }

  /** The process ends by this task's code; null: by code that belongs to none. */
  blame(name: string | null): void {
    this.#view.setUint32(culpritAt, name === null ? nobody : (this.#places.get(name) ?? nobody), true);
  }
}

export const mapBegunRecord = (): BegunMarks =>
  new BegunMarks(Bun.mmap(`/proc/self/fd/${begunDescriptor}`, { shared: true }));
