/**
 * The router process: the shell of sockets, clock and log around the broker. It decodes what comes, tells the broker, and
 * does what the broker says.
 */

import { isLoopback } from "../exposure.ts";
import { hasSupervisor, onStopSignal, onSupervisorMessage, StartError, tellSupervisor } from "../lifecycle.ts";
import {
  beatIntervalMs,
  beatSilenceMs,
  drainMessagesMax,
  envelopeFramesMax,
  frameBytesHardMax,
  lingerMs,
  messageFramesMax,
  peerQueueMessagesMax,
} from "../limits.ts";
import { say, warn } from "../log.ts";
import { Pulse } from "../pulse.ts";
import { decodeFromWorker, encodeBackend } from "../wire/backend.ts";
import { openEnvelope } from "../wire/envelope.ts";
import { ProtocolError } from "../wire/errors.ts";
import { asBuffer } from "../wire/json.ts";
import { decodeRequest } from "../wire/requests.ts";
import { terminateContext } from "../zmq/context.ts";
import { Gate } from "../zmq/gate.ts";
import { reactor } from "../zmq/reactor.ts";
import { Router } from "../zmq/socket.ts";
import { describeBindError } from "../zmq/start.ts";
import { Alarm } from "./alarm.ts";
import { Broker, type BrokerEvent } from "./broker.ts";
import type { Effect } from "./effects.ts";
import type { DropReason } from "./statistics.ts";

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
  const gate = await Gate.open();
  const frontend = new Router({ ...socketOptions, ...gate.serverOptions });
  const backend = new Router({ ...socketOptions, ...gate.serverOptions, disconnectMessage: lostConnection });
  const front = `[ROUTER-${options.port}(FRONTEND)]`;
  const back = `[ROUTER-${options.backendPort}(BACKEND)]`;
  const security = gate.hasKeys ? "curve" : isLoopback(options.host) ? "none" : "insecure";
  const broker = new Broker({ id: `ROUTER-${process.pid}`, random: Math.random, security });
  const alarm = new Alarm(() => turn({ type: "tick" }));

  /** Counts what came to nothing, and says so once, not once a message: whoever sends garbage would else write the log. */
  const drop = (reason: DropReason, line: string): void => {
    if (broker.drop(reason) === 1) warn(`${line}; further ones are only counted, in \`task-engine status\``);
  };

  /** What the broker wants done, in its order. Done together, and not in between: libzmq then wakes its thread once for all. */
  const wanted: Effect[] = [];

  const happen = (event: BrokerEvent): void => {
    wanted.push(...broker.handle(event, performance.now()));
  };

  /** The same for what comes alone, and not among many. */
  const turn = (event: BrokerEvent): void => {
    happen(event);
    dispatch();
  };

  const dispatch = (): void => {
    wanted.push(...broker.dispatch(performance.now()));
    // What is done may bring what is to be done: a worker that cannot be reached.
    for (let batch = wanted.splice(0); batch.length > 0; batch = wanted.splice(0)) perform(batch);
    alarm.set(broker.nextAt);
  };

  const perform = (effects: readonly Effect[]): void => {
    for (const effect of effects) {
      switch (effect.to) {
        case "requestor": {
          const result = frontend.trySend([...effect.requestor, ...effect.frames]);
          if (result === "full") drop("requestorNotReading", `${front} Dropped a reply: its requestor does not read`);
          else if (result === "unreachable") drop("requestorGone", `${front} Dropped a reply: its requestor is gone`);
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
          tellSupervisor(
            effect.type === "kill" ? { type: "kill", pid: effect.pid, why: effect.why } : { type: "drained" },
          );
          break;
        case "log":
          warn(`${back} ${effect.line}`);
          break;
      }
    }
  };

  /** True where there may be more: the other socket, and the jobs that are here by now, have their turn first. */
  const drain = (socket: Router, receive: (message: Uint8Array[]) => void): boolean => {
    let count = 0;
    for (; count < drainMessagesMax; count++) {
      const message = socket.tryReceive(envelopeFramesMax + messageFramesMax + 1);
      if (message === null) break;
      receive(message);
    }
    dispatch();
    return count === drainMessagesMax;
  };

  const fromRequestor = (message: Uint8Array[]): void => {
    const { envelope, frames, error } = openEnvelope(message);
    const request = error === undefined ? decodeRequest(frames) : { kind: "bad" as const, meta: null, error };
    happen({ type: "request", requestor: envelope, user: gate.userOf(frontend), request });
  };

  const fromWorker = ([id = noBytes, ...frames]: Uint8Array[]): void => {
    const key = workerKey(id);
    if (frames.length === 1 && frames[0]?.[0] === 0) {
      happen({ type: "disconnected", key });
      return;
    }
    const decoded = decodeFromWorker(frames);
    if (decoded instanceof ProtocolError)
      drop("workersMessage", `${back} Dropped a worker's message: ${decoded.message}`);
    else happen({ type: "worker", key, user: gate.userOf(backend), message: decoded });
  };

  say(`Starting [ROUTER] on socket: ${options.host}:${options.port}`);
  bind(frontend, "frontend", options.host, options.port);
  say(`${front} Listener online`);
  bind(backend, "backend", options.host, options.backendPort);
  say(`${back} Listener online`);

  gate.guard(frontend);
  gate.guard(backend);
  gate.onAccess((access) => turn({ type: "access", access }));

  const told = Promise.withResolvers<void>();
  onSupervisorMessage((message) => {
    // What a policy is the supervisor does not know: it hands on what the scan has found.
    turn(message as BrokerEvent);
    told.resolve();
  });
  // Only then the first request: until it is told the tasks, it would call each of them unknown.
  if (hasSupervisor()) await told.promise;
  reactor.waitsHere = true;
  frontend.onReadable(() => drain(frontend, fromRequestor));
  backend.onReadable(() => drain(backend, fromWorker));
  // Silence has no time of its own at which it begins to count.
  using _ticks = new Pulse(beatIntervalMs, () => turn({ type: "tick" }));
  say("[ROUTER-MASTER] Routing started");
  tellSupervisor({ type: "online" });

  await new Promise<void>((resolve) => onStopSignal(resolve));
  alarm.set(null);
  frontend.close();
  backend.close();
  terminateContext();
};

const socketOptions = {
  mandatory: true,
  // PINGs find a dead peer, and tell it how long to wait for us. The I/O threads send and answer them: a worker whose task
  // blocks its own thread for long is not taken for dead.
  heartbeatInterval: beatIntervalMs,
  heartbeatTimeout: beatSilenceMs,
  heartbeatTimeToLive: beatSilenceMs,
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
const workerKey = (id: Uint8Array): string => asBuffer(id).toString("latin1");
const routingId = (key: string): Buffer => Buffer.from(key, "latin1");

const show = (frames: readonly Uint8Array[]): string => frames.map((frame) => Buffer.from(frame).toString()).join(" ");
