/**
 * Loads the part of the client that needs libzmq at its first use. A client on the engine's own
 * machine may never need it.
 */
type Libzmq = typeof import("./zmq.ts");

let loading: Promise<Libzmq> | null = null;

export const libzmq = (): Promise<Libzmq> => {
  loading ??= import("./zmq.ts");
  return loading;
};

export const isLibzmqLoaded = (): boolean => loading !== null;

/** Returns true if libzmq was needed, and could not be loaded. */
export const isLibzmqUnusable = async (): Promise<boolean> => (await loading?.catch(() => null)) === null;

/**
 * Waits until closed sockets have sent their last messages. It is the last step before a process
 * ends.
 */
export const endLibzmq = async (): Promise<void> => (await loading?.catch(() => null))?.terminateContext();
