/**
 * The router process: the shell of sockets, clock and log around the broker. It decodes what comes, tells the broker, and
 * does what the broker says.
 */

import { hasSupervisor, onStopSignal, onSupervisorMessage, StartError, tellSupervisor } from "../lifecycle.ts";
import {
  beatIntervalMs,
  drainMessagesMax,
  envelopeFramesMax,
  frameBytesHardMax,
  lingerMs,
  messageFramesMax,
  peerQueueMessagesMax,
} from "../limits.ts";
import { say, warn } from "../log.ts";
import { decodeFromWorker, encodeBackend } from "../wire/backend.ts";
import { openEnvelope } from "../wire/envelope.ts";
import { ProtocolError } from "../wire/errors.ts";
import { decodeRequest } from "../wire/requests.ts";
import { terminateContext } from "../zmq/context.ts";
import { Router } from "../zmq/socket.ts";
import { describeBindError } from "../zmq/start.ts";
import { Broker, type BrokerEvent } from "./broker.ts";
import type { Effect } from "./effects.ts";

export interface RouterOptions {
  readonly host: string;
  /** 0: a free port */
  readonly port: number;
  readonly backendPort: number;
  /** Print each message that is passed on. */
  readonly verbose: boolean;
}

/** What libzmq tells the backend in a lost worker's name. No header of a worker looks like it: it is not JSON. */
const lostConnection = "\0lost";

/** Runs until SIGTERM. Throws StartError where a port cannot be had. */
export const runRouter = async (options: RouterOptions): Promise<void> => {
  const frontend = new Router({ ...socketOptions });
  const backend = new Router({ ...socketOptions, disconnectMessage: lostConnection });
  const front = `[ROUTER-${options.port}(FRONTEND)]`;
  const back = `[ROUTER-${options.backendPort}(BACKEND)]`;
  const broker = new Broker({ id: `ROUTER-${process.pid}` });
  const dropped = new Map<string, number>();

  const drop = (what: string, detail: string): void => {
    const count = (dropped.get(what) ?? 0) + 1;
    dropped.set(what, count);
    // Once, not once a message: whoever sends garbage would otherwise write the log.
    if (count === 1) warn(`${what}: ${detail}; further ones are only counted`);
  };

  const happen = (event: BrokerEvent): void => perform(broker.handle(event, Date.now()));

  const perform = (effects: readonly Effect[]): void => {
    for (const effect of effects) {
      switch (effect.to) {
        case "requestor": {
          const result = frontend.trySend([...effect.requestor, ...effect.frames]);
          if (result !== "sent")
            drop(
              `${front} Dropped a reply`,
              result === "full" ? "its requestor does not read" : "its requestor is gone",
            );
          else if (options.verbose) say(`${back} Forwarding: ${show(effect.frames)}`);
          break;
        }
        case "worker": {
          const result = backend.trySend([routingId(effect.key), ...encodeBackend(effect.header, effect.bodies)]);
          if (result !== "sent") happen({ type: "disconnected", key: effect.key });
          else if (options.verbose && effect.bodies.length > 0) say(`${front} Forwarding: ${show(effect.bodies)}`);
          break;
        }
        case "supervisor":
          tellSupervisor({ type: "drained" });
          break;
        case "log":
          warn(`${back} ${effect.line}`);
          break;
      }
    }
  };

  const drain = (socket: Router, receive: (message: Uint8Array[]) => void): void => {
    for (let count = 0; count < drainMessagesMax; count++) {
      const message = socket.tryReceive(envelopeFramesMax + messageFramesMax + 1);
      if (message === null) break;
      receive(message);
    }
    perform(broker.dispatch());
  };

  const fromRequestor = (message: Uint8Array[]): void => {
    const { envelope, frames, error } = openEnvelope(message);
    const request = error === undefined ? decodeRequest(frames) : { kind: "bad" as const, meta: null, error };
    happen({ type: "request", requestor: envelope, request });
  };

  const fromWorker = ([id = noBytes, ...frames]: Uint8Array[]): void => {
    const key = workerKey(id);
    if (frames.length === 1 && frames[0]?.[0] === 0) {
      happen({ type: "disconnected", key });
      return;
    }
    const decoded = decodeFromWorker(frames);
    if (decoded instanceof ProtocolError) drop(`${back} Dropped a worker's message`, decoded.message);
    else happen({ type: "worker", key, message: decoded });
  };

  say(`Starting [ROUTER] on socket: ${options.host}:${options.port}`);
  bind(frontend, "frontend", options.host, options.port);
  say(`${front} Listener online`);
  bind(backend, "backend", options.host, options.backendPort);
  say(`${back} Listener online`);

  const told = Promise.withResolvers<void>();
  onSupervisorMessage((message) => {
    happen(message);
    perform(broker.dispatch());
    told.resolve();
  });
  // Only then the first request: until it is told the tasks, it would call each of them unknown.
  if (hasSupervisor()) await told.promise;
  frontend.onReadable(() => drain(frontend, fromRequestor));
  backend.onReadable(() => drain(backend, fromWorker));
  const ticks = setInterval(() => {
    happen({ type: "tick" });
    perform(broker.dispatch());
  }, beatIntervalMs);
  say("[ROUTER-MASTER] Routing started");
  tellSupervisor({ type: "online" });

  await new Promise<void>((resolve) => onStopSignal(resolve));
  clearInterval(ticks);
  frontend.close();
  backend.close();
  terminateContext();
};

const socketOptions = {
  mandatory: true,
  linger: lingerMs,
  maxMessageSize: frameBytesHardMax,
  sendHighWaterMark: peerQueueMessagesMax,
  receiveHighWaterMark: peerQueueMessagesMax,
} as const;

const noBytes = new Uint8Array(0);

const bind = (socket: Router, name: string, host: string, port: number): void => {
  try {
    socket.bind(`tcp://${host}:${port}`);
  } catch (error) {
    throw new StartError(describeBindError(error, `the router's ${name}`, `${host}:${port}`));
  }
};

/** Routing ids are bytes; as keys of a map they are strings of as many characters. */
const workerKey = (id: Uint8Array): string => Buffer.from(id.buffer, id.byteOffset, id.length).toString("latin1");
const routingId = (key: string): Buffer => Buffer.from(key, "latin1");

const show = (frames: readonly Uint8Array[]): string => frames.map((frame) => Buffer.from(frame).toString()).join(" ");
