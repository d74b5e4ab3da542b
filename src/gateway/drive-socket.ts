/** The WebSocket of a page that drives: see drive.ts and GATEWAY.md. */
import { gatewayDriversMax } from "../limits.ts";
import { isJsonObject, type Json, type JsonObject } from "../protocol/json.ts";
import { Drive, type DriveWorld } from "./drive.ts";
import { demand, type Engine } from "./engine.ts";
import { type Failure, failureOf, HttpError } from "./errors.ts";
import type { Route } from "./routes.ts";
import type { Person } from "./tokens.ts";

/** The state of a WebSocket. */
export interface DriveSocket {
  readonly open: (send: (message: JsonObject) => void) => Drive;
  readonly close: () => void;
  drive: Drive | null;
}

/** Returns false for a request that is no WebSocket's. */
export type Upgrade = (request: Request, data: DriveSocket) => boolean;

interface DriveContext {
  readonly engine: Engine;
  readonly upgrade: Upgrade;
  readonly isStill: (person: Person) => boolean;
}

export const driveRoutes = ({ engine, upgrade, isStill }: DriveContext): readonly Route[] => {
  /** The drivers by task. */
  const drivers = new Map<string, { readonly name: string; readonly drive: Drive }>();
  let sockets = 0;
  const worldOf = (person: Person, send: DriveWorld["send"], drive: () => Drive): DriveWorld => ({
    send,
    now: () => performance.now(),
    take: (task) => {
      try {
        if (!isStill(person)) throw new HttpError("NO_TOKEN", "the token is not valid any more");
        demand(person, "send", task);
      } catch (error) {
        return failureOf(error);
      }
      const other = drivers.get(task);
      if (other !== undefined && !other.drive.isSilent) {
        const message = `${task} is driven by ${other.name || "another page"}`;
        return { code: "UNAVAILABLE", message } satisfies Failure;
      }
      // A phone that has lost its network comes back by another connection, long before TCP gives
      // the first one up.
      other?.drive.end();
      drivers.set(task, { name: person.name, drive: drive() });
      return null;
    },
    release: (task) => void drivers.delete(task),
    call: (task, args, kwargs, { deadmanMs, signal, keepAlive }) =>
      engine.client
        .call(task, [...args], kwargs, {
          latest: { key: `drive ${person.name}`, abort: true },
          deadmanMs,
          signal,
          keepAlive,
          waitMs: Number.POSITIVE_INFINITY,
          onBehalf: person.onBehalf ?? undefined,
        })
        .then((data): { readonly data: Json } => ({ data }), failureOf),
  });
  return [
    {
      method: "GET",
      path: "/api/drive",
      summary: "A WebSocket by which a page drives: GATEWAY.md has its messages",
      rights: "send",
      answers: { 101: { description: "the WebSocket is open" }, 426: { description: "it is no WebSocket" } },
      handle: ({ person, request }) => {
        if (sockets >= gatewayDriversMax) {
          throw new HttpError("QUEUE_FULL", `${gatewayDriversMax} pages drive or look on already`);
        }
        const socket: DriveSocket = {
          drive: null,
          open: (send) => {
            sockets++;
            const drive: Drive = new Drive(worldOf(person, send, () => drive));
            return drive;
          },
          close: () => void sockets--,
        };
        if (upgrade(request, socket)) return undefined;
        return Response.json(
          { code: "BAD_FRAME", message: "this path takes a WebSocket" },
          { status: 426, headers: { Upgrade: "websocket" } },
        );
      },
    },
  ];
};

type Socket = Bun.ServerWebSocket<DriveSocket>;

export const driveHandlers = {
  open: (socket: Socket): void => {
    socket.data.drive = socket.data.open((message) => void socket.send(JSON.stringify(message)));
  },
  /** Bun does not wait for it; `Drive` bounds what is in progress. */
  message: (socket: Socket, text: string | Buffer): void => {
    const message = typeof text === "string" ? objectIn(text) : null;
    if (message === null) socket.close(1003, "a message is a JSON object");
    else socket.data.drive?.hear(message);
  },
  close: (socket: Socket): void => {
    socket.data.drive?.end();
    socket.data.close();
  },
};

const objectIn = (text: string): JsonObject | null => {
  try {
    const value: unknown = JSON.parse(text);
    return isJsonObject(value) ? value : null;
  } catch {
    return null;
  }
};
