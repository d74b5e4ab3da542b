/**
 * Which job a worker has begun last: eight bytes that outlive the worker. It writes the job's number there before it begins
 * it; the supervisor, who made the file and handed it over as an open descriptor, reads them when the worker is dead. So it
 * is known, even after SIGKILL, what had begun and must not be run again, and what had not and may be.
 *
 * The file has no name and lies in memory (/dev/shm, else the temporary folder): it ends with those who hold it.
 */
import { closeSync, ftruncateSync, openSync, readSync, unlinkSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { channelDescriptor } from "./channel.ts";

/** bytes: a page, the least that can be mapped. */
const markBytes = 4096;

/** The descriptor under which a worker finds it: the first after the channel's. */
export const begunDescriptor = channelDescriptor + 1;

/** The supervisor's end. */
export class BegunRecord {
  readonly descriptor: number;

  constructor() {
    this.descriptor = openUnnamed();
    ftruncateSync(this.descriptor, markBytes);
  }

  /** The router's number of the job that was begun last; 0 for none. */
  read(): number {
    const bytes = Buffer.alloc(8);
    readSync(this.descriptor, bytes, 0, 8, 0);
    return bytes.readDoubleLE(0);
  }

  /** For the next worker, which has begun nothing yet. */
  clear(): void {
    writeSync(this.descriptor, Buffer.alloc(8), 0, 8, 0);
  }

  close(): void {
    closeSync(this.descriptor);
  }
}

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

/** The worker's end: a function that notes a job's number. */
export const mapBegunRecord = (): ((job: number) => void) => {
  const bytes = Bun.mmap(`/proc/self/fd/${begunDescriptor}`, { shared: true });
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return (job) => view.setFloat64(0, job, true);
};
