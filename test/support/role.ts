/**
 * A role for tests of the supervisor: a real process that behaves as its first argument says, in the role of its second.
 * It begins as every role does, and says on stdout what it hears.
 */
import { existsSync, writeFileSync } from "node:fs";
import { dieWithSupervisor, onStopSignal, onSupervisorMessage, tellSupervisor } from "../../src/lifecycle.ts";

const [behaviour = "", kind = "", marker = ""] = process.argv.slice(2);

const stayAlive = (): void => {
  setInterval(() => undefined, 60_000);
};

const serve = (): void => {
  onStopSignal(() => process.exit(0));
  onSupervisorMessage((message) => {
    process.stdout.write(`${kind} hears ${JSON.stringify(message)}\n`);
    if (message.type === "drain" && behaviour !== "busy") tellSupervisor({ type: "drained" });
  });
  stayAlive();
  tellSupervisor({ type: "online" });
};

const behaviours: Readonly<Record<string, () => void>> = {
  good: serve,
  /** Its jobs never end. */
  busy: serve,
  environment: () => {
    process.stdout.write(`${kind} environment ${JSON.stringify(process.env)}\n`);
    serve();
  },
  fatal: () => {
    tellSupervisor({ type: "fatal", message: "port 1 is taken" });
    process.exit(1);
  },
  crash: () => process.exit(3),
  interrupted: () => process.kill(process.pid, "SIGINT"),
  /** Serves, and dies by itself as soon as the marker is there. */
  flaky: () => {
    serve();
    setInterval(() => existsSync(marker) && process.exit(3), 20);
  },
  mute: stayAlive,
  /** Serves at first; after a restart it never comes online. */
  "mute next time": () => {
    if (existsSync(marker)) return stayAlive();
    writeFileSync(marker, "");
    serve();
  },
  stubborn: () => {
    process.on("SIGTERM", () => undefined);
    stayAlive();
    tellSupervisor({ type: "online" });
  },
  /** Nothing can reach its event loop any more. */
  spinning: () => {
    serve();
    setTimeout(() => {
      process.stdout.write(`${kind} spins\n`);
      for (;;) Bun.sleepSync(1000);
    }, 20);
  },
  "crash at stop": () => {
    process.on("SIGTERM", () => process.exit(9));
    stayAlive();
    tellSupervisor({ type: "online" });
  },
  list: () => process.stdout.write('["count","drive"]\n'),
  "no list": () => process.stdout.write("hello\n"),
  /** Still starting, in a program that is slow to load. */
  "slow to start": serve,
};

if (behaviour === "slow to start") Bun.sleepSync(500);
dieWithSupervisor();
behaviours[behaviour]?.();
if (behaviour.startsWith("list") || behaviour === "no list") process.exit(0);
