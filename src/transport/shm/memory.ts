/**
 * Memory that two processes share, memfd_create(2). It has no file, unused pages cost nothing, and
 * it is freed with the last process that has it.
 *
 * The connecting process makes it and passes it. Its length is sealed, so that no peer can truncate
 * it under a reader (SIGBUS).
 */
import { type Pointer, toArrayBuffer } from "bun:ffi";
import { localRingBytes } from "../../limits.ts";
import { cString, libc, pinnedBytes } from "../libc.ts";

const closeOnExec = 1; // MFD_CLOEXEC, memfd_create(2)
const mayBeSealed = 2; // MFD_ALLOW_SEALING
const noProgram = 8; // MFD_NOEXEC_SEAL: required by some systems; new in Linux 6.3
const addSeals = 1033; // F_ADD_SEALS, fcntl(2)
const getSeals = 1034; // F_GET_SEALS
const noSeals = 1; // F_SEAL_SEAL
const noShrinking = 2; // F_SEAL_SHRINK
const noGrowing = 4; // F_SEAL_GROW

const fromEnd = 2; // SEEK_END, lseek(2)

/**
 * Only normal pages: huge pages have a file system of their own, and may be missing at first use.
 */
const usualMemory = 0x01021994n; // TMPFS_MAGIC, statfs(2)
/** `struct statfs`, which begins with that. */
const fileSystem = new BigInt64Array(pinnedBytes(128).buffer);

const none = 0; // PROT_NONE, mmap(2)
const readAndWrite = 3; // PROT_READ | PROT_WRITE
const shared = 1; // MAP_SHARED
const reserved = 0x22; // MAP_PRIVATE | MAP_ANONYMOUS
const fixed = 0x10; // MAP_FIXED

/** bytes at the beginning, for the indices of both rings: the largest page size of any system. */
const controlBytes = 64 * 1024;
/** bytes of the memory of one connection. */
export const memoryBytes = controlBytes + 2 * localRingBytes;

/** The memory of a connection, as this process sees it. */
export interface Memory {
  readonly control: Int32Array;
  /**
   * Written by the process that made the memory; written by the other. Each is mapped twice in a
   * row.
   */
  readonly rings: readonly [Buffer, Buffer];
  /** Nothing of it may be used any more. */
  readonly unmap: () => void;
}

const name = cString("task-engine");

/** A descriptor of new memory; null where the system has none to give. */
export const makeMemory = (): number | null => {
  let descriptor = libc.memfd_create(name, closeOnExec | mayBeSealed | noProgram);
  if (descriptor < 0) descriptor = libc.memfd_create(name, closeOnExec | mayBeSealed);
  if (descriptor < 0) return null;
  const isMade =
    libc.ftruncate(descriptor, memoryBytes) === 0 &&
    libc.fcntl(descriptor, addSeals, noShrinking | noGrowing | noSeals) === 0;
  if (isMade) return descriptor;
  libc.close(descriptor);
  return null;
};

/**
 * Maps the memory of a descriptor, which may be closed then; null if it is not shared memory or not
 * sealed.
 */
export const mapMemory = (descriptor: number): Memory | null => {
  if (!isReliable(descriptor)) return null;
  const parts: (Part | null)[] = [
    mapOnce(descriptor),
    mapTwice(descriptor, controlBytes),
    mapTwice(descriptor, controlBytes + localRingBytes),
  ];
  const unmap = (): void => {
    for (const part of parts) if (part !== null) libc.munmap(part.address, part.bytes.byteLength);
  };
  const [control, first, second] = parts;
  if (!control || !first || !second) {
    unmap();
    return null;
  }
  return {
    control: new Int32Array(control.bytes),
    rings: [Buffer.from(first.bytes), Buffer.from(second.bytes)],
    unmap,
  };
};

/**
 * Returns true if this process can make memory and map it: limits or a filter of system calls may
 * forbid it.
 */
export const canShareMemory = (): boolean => {
  const descriptor = makeMemory();
  if (descriptor === null) return false;
  const memory = mapMemory(descriptor);
  libc.close(descriptor);
  memory?.unmap();
  return memory !== null;
};

const isReliable = (descriptor: number): boolean => {
  const seals = libc.fcntl(descriptor, getSeals, 0);
  if (seals < 0 || (seals & noShrinking) === 0) return false;
  if (libc.fstatfs(descriptor, fileSystem) !== 0 || fileSystem[0] !== usualMemory) return false;
  return Number(libc.lseek(descriptor, 0, fromEnd)) === memoryBytes;
};

interface Part {
  readonly address: Pointer;
  readonly bytes: ArrayBuffer;
}

const mapOnce = (descriptor: number): Part | null =>
  partAt(map(null, controlBytes, shared, descriptor, 0), controlBytes);

/** So that what goes over its end is in one piece all the same. */
const mapTwice = (descriptor: number, offset: number): Part | null => {
  const part = partAt(map(null, 2 * localRingBytes, reserved, -1, 0), 2 * localRingBytes);
  if (part === null) return null;
  const isMapped = [part.address, part.address + localRingBytes].every(
    (address) => map(address as Pointer, localRingBytes, shared | fixed, descriptor, offset) === address,
  );
  if (isMapped) return part;
  libc.munmap(part.address, 2 * localRingBytes);
  return null;
};

const map = (address: Pointer | null, bytes: number, flags: number, descriptor: number, offset: number) =>
  libc.mmap(address, bytes, flags === reserved ? none : readAndWrite, flags, descriptor, offset);

/** MAP_FAILED is the highest address of all, which bun:ffi gives as a bigint. */
const partAt = (address: Pointer | bigint | null, bytes: number): Part | null =>
  typeof address === "number" ? { address, bytes: toArrayBuffer(address, 0, bytes) } : null;
