/** What of the client needs libzmq, which is loaded when it is first asked for: a client on the engine's own machine may never. */
type Libzmq = typeof import("./zmq.ts");

let loading: Promise<Libzmq> | null = null;

export const libzmq = (): Promise<Libzmq> => {
  loading ??= import("./zmq.ts");
  return loading;
};

export const isLibzmqLoaded = (): boolean => loading !== null;

/** Whether it was needed, and could not be loaded. */
export const isLibzmqUnusable = async (): Promise<boolean> => (await loading?.catch(() => null)) === null;

/** Waits until what closed sockets still have to send is out. It is for the last step before a process ends. */
export const endLibzmq = async (): Promise<void> => (await loading?.catch(() => null))?.terminateContext();
