/** A process under its supervisor: how long it lives, what it is told and what it tells. The other end is `supervisor/child.ts`. */
import type { Security } from "../security/gate.ts";
import { libc } from "../transport/libc.ts";
import { Channel, channelDescriptor } from "./channel.ts";
import type { ChildMessage, SupervisorMessage } from "./messages.ts";

/**
 * Calls `stop` when this process is to end: at its supervisor's word alone. One without a supervisor obeys SIGTERM. To be called once.
 */
export const onStop = (stop: () => void): void => {
  end = stop;
  if (hasSupervisor()) return;
  process.on("SIGINT", ignoreSignal);
  process.once("SIGTERM", stop);
};

/** What the supervisor's word means as long as nothing runs: before the role has begun. */
let end = (): void => process.exit(0);

const ignoreSignal = (): void => undefined;

const deathSignalOption = 1; // PR_SET_PDEATHSIG, prctl(2)
const sigkill = 9;
const sigcont = 18;

/** Tells a child its supervisor's process id. It is 1 where the engine is all that runs in a container. */
export const supervisorVariable = "TASK_ENGINE_SUPERVISOR_PID";

/**
 * Makes the kernel kill this process when its supervisor dies, even if that is by SIGKILL and this one is in an endless
 * loop. To be called first of all by every role that `serve` starts.
 */
export const dieWithSupervisor = (): void => liveUnderSupervisor(sigkill);

/**
 * For the router, which has something to do when its supervisor dies (see `onSupervisorLost`): the kernel does not kill it then,
 * but has it go on if somebody has halted it.
 */
export const outliveSupervisor = (): void => liveUnderSupervisor(sigcont);

const liveUnderSupervisor = (deathSignal: number): void => {
  if (!hasSupervisor()) return;
  libc.prctl(deathSignalOption, deathSignal, 0, 0, 0);
  // It may have died before the kernel knew of our wish; then another process, one that adopts orphans, is our parent by now.
  if (process.env[supervisorVariable] !== String(libc.getppid())) process.exit(1);
  delete process.env[supervisorVariable];
  // Who tells all processes of the engine to end, as killall and systemd do, has told the supervisor, and that decides.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, ignoreSignal);
  channel = new Channel<SupervisorMessage, ChildMessage>(channelDescriptor, (message) => {
    if (message.type === "ping") tellSupervisor({ type: "pong" });
    else if (message.type === "stop") end();
    else if (message.type === "security") security.resolve(message.security);
    else if (message.type === "authorized") takeAuthorized(message.text);
    else if (hear === null) unheard.push(message);
    else hear(message);
  });
  void channel.ended.then(() => lost());
};

let lost = (): void => process.exit(1);

/** Calls `handler` when the supervisor is gone, in place of the end of this process. To be called once. */
export const onSupervisorLost = (handler: () => void): void => {
  lost = handler;
};

const isChild = process.env[supervisorVariable] !== undefined;
let channel: Channel<SupervisorMessage, ChildMessage> | null = null;

export const hasSupervisor = (): boolean => isChild;

/** Tells the supervisor, if there is one: a role that a person started by hand has none, and one may be dead. */
export const tellSupervisor = (message: ChildMessage): void => {
  channel?.send(message);
};

const security = Promise.withResolvers<Security | null>();
let hearAuthorized: ((text: string) => void) | null = null;
/** The newest text that nobody has heard yet. */
let unheardText: string | null = null;

const takeAuthorized = (text: string): void => {
  if (hearAuthorized === null) unheardText = text;
  else hearAuthorized(text);
};

/** The supervisor's word on keys, as soon as it is here; a role without a supervisor has none. */
export const toldSecurity = (): Promise<Security | null> =>
  hasSupervisor() ? security.promise : Promise.resolve(null);

/** To be called once; what has come before is given to the handler at once. */
export const onAuthorized = (handler: (text: string) => void): void => {
  hearAuthorized = handler;
  if (unheardText !== null) handler(unheardText);
};

let hear: ((message: SupervisorMessage) => void) | null = null;
/** What came before anybody listened: few, since a supervisor says little to a process that is just starting. */
const unheard: SupervisorMessage[] = [];

/** To be called once, after `dieWithSupervisor`; what came in between is given to the handler at once. */
export const onSupervisorMessage = (handler: (message: SupervisorMessage) => void): void => {
  hear = handler;
  for (const message of unheard.splice(0)) handler(message);
};
