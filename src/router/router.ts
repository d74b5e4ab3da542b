/**
 * The router process: the shell of sockets, clock and log around the broker. It decodes what comes, tells the broker, and
 * does what the broker says.
 */

import { Broker } from "../broker/broker.ts";
import type { BrokerEvent, Effect } from "../broker/events.ts";
import type { DropReason } from "../broker/statistics.ts";
import {
  beatIntervalMs,
  catchUpAfterMs,
  drainMessagesMax,
  envelopeFramesMax,
  messageFramesMax,
  partingMs,
  stallReadMsMax,
  workersMax,
} from "../limits.ts";
import { say, warn } from "../process/log.ts";
import { openGate } from "../process/open-gate.ts";
import type { TasksFolder } from "../process/program.ts";
import { hasSupervisor, onStop, onSupervisorLost, onSupervisorMessage, tellSupervisor } from "../process/supervised.ts";
import { decodeFromWorker, encodeBackend } from "../protocol/backend.ts";
import type { Arrival } from "../protocol/envelope.ts";
import { ProtocolError } from "../protocol/errors.ts";
import { type Frame, textOf } from "../protocol/frame.ts";
import { catchUp } from "../security/catch-up.ts";
import { isLoopback } from "../security/exposure.ts";
import { Frontend } from "../security/frontend.ts";
import { Pulse } from "../transport/pulse.ts";
import { reactor, waitHereMs } from "../transport/reactor.ts";
import { ShmListener } from "../transport/shm/listener.ts";
import { StartError } from "../transport/start-error.ts";
import { type Listener, Listeners, saysLost } from "../transport/transport.ts";
import { terminateContext } from "../transport/zmq/context.ts";
import { ZmqListener } from "../transport/zmq/listener.ts";
import { describeBindError } from "../transport/zmq/start.ts";
import { Alarm } from "./alarm.ts";
import { takeOver } from "./guard.ts";

export interface RouterOptions {
  readonly host: string;
  /** 0: a free port */
  readonly port: number;
  readonly backendPort: number;
  /** Path of the socket for the engine's own workers; null where nobody is to join so. */
  readonly workSocket: string | null;
  /** Who makes the robot safe if the supervisor dies must know how: its task files; and the task of `on-stop`, if there is one. */
  readonly folder: TasksFolder;
  readonly hook: string | null;
  /** ms that running jobs may take to let go at an emergency stop. */
  readonly stopGraceMs: number;
  /** Print each message that is passed on. */
  readonly verbose: boolean;
}

/**
 * Runs until it is told to stop. Should its supervisor die, it answers what it has, makes safe what may have been running, and ends the
 * process with code 1. Throws StartError where a port cannot be had.
 */
export const runRouter = async (options: RouterOptions): Promise<void> => {
  const gate = await openGate();
  const frontend = new Frontend(gate, (inbox) => drain(inbox, fromRequestor));
  const backend = new ZmqListener(gate.routerOptions);
  /** The listeners for workers, once they may join. */
  const workers = new Listeners();
  const front = `[ROUTER-${options.port}(FRONTEND)]`;
  const back = `[ROUTER-${options.backendPort}(BACKEND)]`;
  const security = gate.hasKeys ? "curve" : isLoopback(options.host) ? "none" : "insecure";
  const broker = new Broker({
    id: `ROUTER-${process.pid}`,
    random: Math.random,
    security,
    stopGraceMs: options.stopGraceMs,
    // In µs since 1970: no router gives out numbers faster than that.
    firstJob: Date.now() * 1000,
  });
  // What is here already comes before the time that has passed: after a stall of this process an answer must not be taken for a
  // TIMEOUT, nor a KEEPALIVE for silence. What has gathered in so many ms may take as many to be read, within bounds.
  const alarm = new Alarm((lateMs) => {
    reactor.lookNow(Math.min(lateMs, stallReadMsMax));
    turn({ type: "tick" });
  });

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

  let isCatchingUp = false;
  let dispatchedAt = performance.now();

  /** After a while without it, be it that this process was halted, all that has come is read before anything begins. */
  const dispatch = (): void => {
    if (isCatchingUp) return;
    const awayMs = performance.now() - dispatchedAt;
    if (awayMs >= catchUpAfterMs) {
      isCatchingUp = true;
      performAll();
      queueMicrotask(() => {
        catchUp(gate, awayMs);
        isCatchingUp = false;
        dispatchedAt = performance.now();
        dispatch();
      });
      return;
    }
    wanted.push(...broker.dispatch(performance.now()));
    performAll();
    alarm.set(broker.nextAt);
    dispatchedAt = performance.now(); // What this has taken itself, it was not away.
  };

  /** What is done may bring what is to be done: a worker that cannot be reached. */
  const performAll = (): void => {
    for (let batch = wanted.splice(0); batch.length > 0; batch = wanted.splice(0)) perform(batch);
    workers.flush();
    frontend.flush();
  };

  const perform = (effects: readonly Effect[]): void => {
    for (const effect of effects) {
      switch (effect.to) {
        case "requestor": {
          const result = frontend.gather(effect.requestor, effect.frames);
          if (result === "full") drop("requestorNotReading", `${front} Dropped a reply: its requestor does not read`);
          else if (result === "unreachable") drop("requestorGone", `${front} Dropped a reply: its requestor is gone`);
          else if (options.verbose) say(`${back} Forwarding: ${show(effect.frames)}`);
          break;
        }
        case "worker": {
          const result = workers.gather(effect.key, encodeBackend(effect.header, effect.bodies));
          if (result !== "sent") happen({ type: "disconnected", key: effect.key });
          else if (options.verbose && effect.bodies.length > 0) say(`${front} Forwarding: ${show(effect.bodies)}`);
          break;
        }
        case "supervisor":
          inform(effect);
          break;
        case "log":
          warn(`${back} ${effect.line}`);
          break;
      }
    }
  };

  const inform = ({ to: _, ...message }: Extract<Effect, { to: "supervisor" }>): void => {
    if (hasSupervisor()) tellSupervisor(message);
    // A router that a person started by hand has nobody else to ask, and no folder of its own.
    else if (message.type === "reset") happen({ type: "stopped", stopped: null });
    else if (message.type === "estop")
      happen({ type: "latched", request: message.request, failure: "it has no supervisor" });
  };

  /** Not all that there may be: the other socket, and the jobs that are here by now, have their turn in between. */
  const drain = <Message>(next: () => Message | null, receive: (message: Message) => void): void => {
    let count = 0;
    for (; count < drainMessagesMax; count++) {
      const message = next();
      if (message === null) break;
      receive(message);
    }
    if (count > 0) dispatch();
  };

  const dropCut = (why: string): void => drop("requestorCut", `${front} Ended a connection: ${why}`);

  const fromRequestor = (arrival: Arrival): void => {
    happen(arrival);
    if (arrival.type === "lost") return arrival.cutReason === null ? undefined : dropCut(arrival.cutReason);
    const { request } = arrival;
    // It waits for nothing, be it what else has come with it.
    if (request.kind === "control" && request.control.command === "estop") performAll();
  };

  const fromWorker = (key: string, user: string | null, frames: readonly Frame[]): void => {
    if (saysLost(frames)) {
      happen({ type: "disconnected", key });
      return;
    }
    const decoded = decodeFromWorker(frames);
    if (decoded instanceof ProtocolError)
      drop("workersMessage", `${back} Dropped a worker's message: ${decoded.message}`);
    else happen({ type: "worker", key, user, message: decoded });
  };

  /** @param userOf gives the name of the key that the message received last came with */
  const listen = (listener: Listener, userOf: () => string | null): void => {
    workers.add(listener);
    listener.onReadable((inbox) =>
      drain(
        () => inbox.tryReceive(backendFramesMax),
        (frames) => fromWorker(inbox.peer, userOf(), frames),
      ),
    );
  };

  const endOrphaned = async (): Promise<void> => {
    warn("[ROUTER-MASTER] The supervisor has died: all that runs or waits is answered, and made safe");
    const { tasksAtRisk } = broker;
    turn({ type: "orphaned" });
    await takeOver({ folder: options.folder, hook: options.hook, tasks: tasksAtRisk });
  };

  say(`Starting [ROUTER] on socket: ${options.host}:${options.port}`);
  binding("frontend", options.host, options.port, () => frontend.bind(options.host, options.port));
  say(`${front} Listener online`);
  binding("backend", options.host, options.backendPort, () => backend.bind(options.host, options.backendPort));
  say(`${back} Listener online`);

  gate.guard(backend.socket, partingMs);
  gate.onAccess((access) => turn({ type: "access", access }));

  const told = Promise.withResolvers<void>();
  onSupervisorMessage((message) => {
    // What a policy is the supervisor does not know: it hands on what the scan has found.
    turn(message as BrokerEvent);
    if (message.type === "tasks") told.resolve();
  });
  // Only then the first request: until it is told the tasks, it would call each of them unknown.
  if (hasSupervisor()) await told.promise;
  reactor.mayWaitMs = () => waitHereMs;
  listen(backend, () => gate.userOf(backend.socket));
  if (options.workSocket !== null) listen(openWorkSocket(options.workSocket), () => gate.ownUser);
  binding("frontend", options.host, options.port, () => frontend.open());
  // Silence has no time of its own at which it begins to count.
  using _ticks = new Pulse(beatIntervalMs, () => turn({ type: "tick" }));
  say("[ROUTER-MASTER] Routing started");
  tellSupervisor({ type: "online" });

  const isOrphaned = await new Promise<boolean>((resolve) => {
    onStop(() => resolve(false));
    onSupervisorLost(() => resolve(true));
  });
  // The ports stay taken meanwhile, and who asks is answered: nobody else may begin while this ends.
  if (isOrphaned) await endOrphaned();
  else tellSupervisor({ type: "unsafe", tasks: broker.tasksAtRisk });
  alarm.set(null);
  // The ports go last: while they are taken, nobody else makes a socket at the path of the own workers', which goes with this one.
  workers.close();
  frontend.close();
  terminateContext();
  if (isOrphaned) process.exit(1);
};

const backendFramesMax = envelopeFramesMax + messageFramesMax;

/** For the engine's own workers. The file is for the engine's user alone, who could do as the engine does anyway: they need no key. */
const openWorkSocket = (path: string): ShmListener => {
  try {
    return new ShmListener({ path, connectionsMax: workersMax });
  } catch (failure) {
    const why = (failure as Error).message;
    throw new StartError(
      `the router's socket ${path} cannot be made: ${why}; mend it, or name another folder with --state`,
    );
  }
};

const binding = (name: string, host: string, port: number, bind: () => void): void => {
  try {
    bind();
  } catch (error) {
    throw new StartError(describeBindError(error, `the router's ${name}`, `${host}:${port}`));
  }
};

const show = (frames: readonly Frame[]): string => frames.map(textOf).join(" ");
