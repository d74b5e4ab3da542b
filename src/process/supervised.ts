/** A process under its supervisor. The other end is supervisor/child.ts. */
import type { Security } from "../security/gate.ts";
import { libc } from "../transport/libc.ts";
import { Channel, channelDescriptor } from "./channel.ts";
import { LogFeed } from "./log-feed.ts";
import type { ChildMessage, SupervisorMessage } from "./messages.ts";

const deathSignalOption = 1; // PR_SET_PDEATHSIG, prctl(2)
const sigkill = 9;
const sigcont = 18;

/** Has the supervisor's process id, which is 1 if the engine is all that runs in a container. */
export const supervisorVariable = "TASK_ENGINE_SUPERVISOR_PID";

const isChild = process.env[supervisorVariable] !== undefined;
let channel: Channel<SupervisorMessage, ChildMessage> | null = null;

/** Keeps messages until there is a handler; a starting process gets few. */
class MessageQueue<Message> {
  #handler: ((message: Message) => void) | null = null;
  readonly #waiting: Message[] = [];

  put(message: Message): void {
    if (this.#handler === null) this.#waiting.push(message);
    else this.#handler(message);
  }

  open(handler: (message: Message) => void): void {
    this.#handler = handler;
    for (const message of this.#waiting.splice(0)) handler(message);
  }
}

const security = Promise.withResolvers<Security | null>();
const authorized = new MessageQueue<string>();
const messages = new MessageQueue<SupervisorMessage>();

const ignoreSignal = (): void => undefined;
/** Before the role has begun, nothing has to be finished. */
let stop = (): void => process.exit(0);
let onLost = (): void => process.exit(1);

/** False for a role that a person has started by hand. */
export const hasSupervisor = (): boolean => isChild;

/**
 * Makes the kernel kill this process when its supervisor dies, even by SIGKILL, and even if this
 * process is in an endless loop. To be called first of all by every role that `serve` starts.
 */
export const dieWithSupervisor = (): void => liveUnderSupervisor(sigkill);

/**
 * For the router, which outlives its supervisor to make the robot safe (see `onSupervisorLost`). A
 * halted router continues then.
 */
export const outliveSupervisor = (): void => liveUnderSupervisor(sigcont);

const liveUnderSupervisor = (deathSignal: number): void => {
  if (!isChild) return;
  libc.prctl(deathSignalOption, deathSignal, 0, 0, 0);
  // If the supervisor died before the prctl, the parent is by now another process, which adopts
  // orphans.
  if (process.env[supervisorVariable] !== String(libc.getppid())) process.exit(1);
  delete process.env[supervisorVariable];
  // killall and systemd signal all processes of the engine; the supervisor is one of them, and
  // decides.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, ignoreSignal);
  channel = new Channel<SupervisorMessage, ChildMessage>(channelDescriptor, (message) => {
    if (message.type === "ping") tellSupervisor({ type: "pong" });
    else if (message.type === "watchLog") logFeed.watch(message.isWatched);
    else if (message.type === "stop") stop();
    else if (message.type === "security") security.resolve(message.security);
    else if (message.type === "authorized") authorized.put(message.text);
    else messages.put(message);
  });
  void channel.ended.then(() => onLost());
};

/**
 * Calls `handler` when this process is to end: only its supervisor decides that, or SIGTERM if
 * there is none. To be called once.
 */
export const onLeaveRequest = (handler: () => void): void => {
  stop = handler;
  if (isChild) return;
  process.on("SIGINT", ignoreSignal);
  process.once("SIGTERM", handler);
};

/** Calls `handler` when the supervisor is gone; else this process ends. To be called once. */
export const onSupervisorLost = (handler: () => void): void => {
  onLost = handler;
};

/** Does nothing without a supervisor. */
export const tellSupervisor = (message: ChildMessage): void => {
  channel?.send(message);
};

/** Lines of the log are not worth waiting for a supervisor that does not read. */
const logFeed = new LogFeed((lines, lost) => {
  if (channel === null || channel.isBusy) return false;
  channel.send({ type: "log", lines, lost });
  return true;
});

/** Resolves with the engine's keys, as soon as they are here; with null without a supervisor. */
export const toldSecurity = (): Promise<Security | null> => (isChild ? security.promise : Promise.resolve(null));

/** To be called once; earlier messages are given to the handler at once. */
export const onAuthorized = (handler: (text: string) => void): void => authorized.open(handler);

/** The same for all messages that this module does not handle itself. */
export const onSupervisorMessage = (handler: (message: SupervisorMessage) => void): void => messages.open(handler);
