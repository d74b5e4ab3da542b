/** What sockets without a file are called, unix(7): they live as long as their process, in its network namespace, as ports do. */

/** Of what listens beside this address. Who comes frames its messages as this program does now; should that change, so must the name. */
export const localName = (host: string, port: number): string => `\0task-engine/2/${host}:${port}`;
