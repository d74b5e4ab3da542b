/**
 * libzmq's socket options that this program uses: [name, number in zmq.h, type of its value].
 * A row here is all that a new option needs. Source: zmq_setsockopt(3), zmq.h of libzmq 4.3.5.
 */
const table = [
  ["linger", 17, "int"], // ms that close may wait for what is unsent; −1: for ever
  ["sendHighWaterMark", 23, "int"], // messages per peer
  ["receiveHighWaterMark", 24, "int"], // messages per peer
  ["maxMessageSize", 22, "int64"], // bytes per frame; a peer that sends more is disconnected
  ["mandatory", 33, "int"], // ROUTER: an unknown peer is an error (EHOSTUNREACH), not a silent drop
  ["handover", 56, "int"], // ROUTER: a peer with a known routing id replaces that connection
  ["immediate", 39, "int"], // queue only to connections that are complete
  ["reconnectInterval", 18, "int"], // ms
  ["reconnectIntervalMax", 21, "int"], // ms
  ["handshakeInterval", 66, "int"], // ms
  ["backlog", 19, "int"], // connections that wait in the kernel to be taken in
  ["heartbeatInterval", 75, "int"], // ms between ZMTP PINGs, which the I/O thread sends and answers
  ["heartbeatTimeout", 77, "int"], // ms without traffic after a PING until the connection is closed
  ["heartbeatTimeToLive", 76, "int"], // ms that the peer is told to wait for us, in steps of 100
  ["routingId", 5, "bytes"],
  ["subscribe", 6, "bytes"],
  ["unsubscribe", 7, "bytes"],
  ["verbose", 78, "int"], // XPUB: pass every (un)subscription up, duplicates too (XPUB_VERBOSER)
  ["manual", 71, "int"], // XPUB: only `subscribe` subscribes, for the peer read last
  ["helloMessage", 110, "bytes"], // sent first on each connection (draft API)
  ["disconnectMessage", 111, "bytes"], // ROUTER: received at the end of a peer (draft API)
  ["hiccupMessage", 114, "bytes"], // DEALER: received at a lost connection (draft API)
  ["arrivalBatchBytes", 101, "int"], // bytes per read of a connection (draft API)
  ["curveServer", 47, "int"], // accept CURVE clients alone
  ["curvePublicKey", 48, "bytes"], // of a client, like all keys in Z85
  ["curveSecretKey", 49, "bytes"],
  ["curveServerKey", 50, "bytes"], // of the one server that a client will talk to
  ["plainUsername", 45, "bytes"], // PLAIN: for tests that it is refused
  ["plainPassword", 46, "bytes"],
  ["zapDomain", 55, "bytes"], // what the ZAP handler is asked in; empty: it is not asked
  ["ipcUser", 59, "int"], // the user who may connect to a Unix socket
  ["zapEnforceDomain", 93, "int"], // no ZAP handler: nobody comes in
  ["manualLastValue", 98, "int"], // `manual`; the next message is for that peer (draft API)
] as const;

type OptionType = (typeof table)[number][2];

/** Values by name; `int` and `int64` take a number or a boolean, `bytes` a string or bytes. */
export type SocketOptions = { [Row in (typeof table)[number] as Row[0]]?: OptionValue<Row[2]> };
type OptionValue<Type extends OptionType> = Type extends "bytes" ? string | Uint8Array : number | boolean;

export const optionByName: ReadonlyMap<string, { number: number; type: OptionType }> = new Map(
  table.map(([name, number, type]) => [name, { number, type }]),
);

/** A value as zmq_setsockopt(3) takes it. */
export const optionBytes = (
  type: OptionType,
  value: string | Uint8Array | number | boolean,
): Uint8Array | BigInt64Array | Int32Array => {
  if (type === "bytes") return Buffer.from(value as string | Uint8Array);
  return type === "int64" ? new BigInt64Array([BigInt(Number(value))]) : new Int32Array([Number(value)]);
};

/** Throws TypeError for options with which any client with the server's public key may connect. */
export const checkOptions = ({ curveServer, zapDomain, zapEnforceDomain }: SocketOptions): void => {
  if (curveServer && !(zapDomain && zapEnforceDomain)) {
    throw new TypeError("a CURVE server needs a ZAP domain, and to enforce it");
  }
};

/** Options whose values no error message shows. */
export const isSecretOption = (name: string): boolean => name === "curveSecretKey" || name === "plainPassword";

/** Read-only facts of a socket that are asked for by number. */
export const lastEndpointOption = 32;
export const fdOption = 14;
export const eventsOption = 15;
export const pollIn = 1;
export const pollOut = 2;
export const messageDescriptor = 2; // ZMQ_SRCFD of zmq_msg_get(3)
export const dontWait = 1;
export const sendMore = 2;

export const socketType = { pub: 1, sub: 2, req: 3, rep: 4, dealer: 5, router: 6, xpub: 9, xsub: 10 } as const;
export type SocketType = keyof typeof socketType;
