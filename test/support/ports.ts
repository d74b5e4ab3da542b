/** Ports that nothing uses at present. */

const [lowest, highest] = [12_000, 32_000];
/** A port is given to one test alone, for tests may run beside one another. */
let next = lowest + Math.floor(Math.random() * (highest - lowest));

/** As many free TCP ports of 127.0.0.1 in a row as asked for, below those that the system gives to connections; the first. */
export const freePorts = (count: number): number => {
  for (let attempt = 0; attempt < 100; attempt++) {
    const first = next + count > highest ? lowest : next;
    next = first + count;
    if (Array.from({ length: count }, (_, index) => first + index).every(isFree)) return first;
  }
  throw new Error(`no ${count} free ports in a row`);
};

const isFree = (port: number): boolean => {
  try {
    Bun.listen({ hostname: "127.0.0.1", port, socket: { data: () => undefined } }).stop(true);
    return true;
  } catch {
    return false;
  }
};
