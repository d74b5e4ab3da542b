/**
 * A role for tests of the supervisor: a real process that behaves as its first argument after
 * `role` says, in the role of its second. It begins as every role does, and says on stdout what it
 * hears.
 */
import { existsSync, readFileSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { mapBegunRecord } from "../../src/process/begun.ts";
import {
  dieWithSupervisor,
  onLeaveRequest,
  onSupervisorMessage,
  tellSupervisor,
} from "../../src/process/supervised.ts";

const [behaviour = "", kind = "", marker = ""] = process.argv.slice(3);

/** Past `process.stdout`, which takes as long to load as the rest of this program. */
const print = (line: string): void => void writeSync(1, `${line}\n`);

const stayAlive = (): void => {
  setInterval(() => undefined, 60_000);
};

const leave = (why: string): void => {
  // A router says what it leaves behind.
  const tasks = behaviour === "unsafe" ? ["drive"] : [];
  if (kind === "router" && behaviour !== "silent") tellSupervisor({ type: "unsafe", tasks });
  tellSupervisor({ type: "recycle", why });
  process.exit(0);
};

/** Does something when the marker is there, and again when it is there again. */
const onMarker = (then: (content: string) => void): void => {
  setInterval(() => {
    if (!existsSync(marker)) return;
    const content = readFileSync(marker, "utf8");
    if (content === "") return;
    rmSync(marker);
    then(content);
  }, 20);
};

const serve = (): void => {
  onLeaveRequest(() => leave("it was told to end"));
  if (kind === "task worker") process.once("SIGTERM", () => leave("it was told to end"));
  onSupervisorMessage((message) => {
    print(`${kind} hears ${JSON.stringify(message)}`);
    if (message.type === "drain" && behaviour !== "busy") tellSupervisor({ type: "drained" });
    if (message.type === "halt" && behaviour !== "restless") tellSupervisor({ type: "still", halt: message.halt });
  });
  stayAlive();
  tellSupervisor({ type: "online" });
};

/** Says why it was to be. */
const endSafing = (exitCode: number): never => {
  print(`safe for ${process.argv.slice(6).join(" ")}`);
  process.exit(exitCode);
};

const behaviours: Readonly<Record<string, () => void>> = {
  good: serve,
  /** Its jobs never end. */
  busy: serve,
  /** A router that knows of a task that is not safe; one that does not say what it knows. */
  unsafe: serve,
  silent: serve,
  /** Its jobs do not end when they are told to. */
  restless: serve,
  environment: () => {
    print(`${kind} environment ${JSON.stringify(process.env)}`);
    serve();
  },
  fatal: () => {
    print("fatal tries");
    tellSupervisor({ type: "fatal", message: "port 1 is taken" });
    process.exit(1);
  },
  crash: () => process.exit(3),
  killed: () => process.kill(process.pid, "SIGKILL"),
  /** Serves, and dies by itself as soon as the marker is there. */
  flaky: () => {
    serve();
    setInterval(() => existsSync(marker) && process.exit(3), 20);
  },
  /** As a router: wishes that the process be killed whose pid is in the marker. */
  killer: () => {
    serve();
    onMarker((pid) => tellSupervisor({ type: "kill", pid: Number(pid), why: "spin did not let go" }));
  },
  /** As a router: wishes what is in the marker, a list as JSON. */
  wisher: () => {
    serve();
    setInterval(() => {
      const wishes = existsSync(marker) ? readFileSync(marker, "utf8") : "";
      if (wishes === "") return;
      JSON.parse(wishes).forEach(tellSupervisor);
      // All is said when it is gone.
      rmSync(marker);
    }, 20);
  },
  /** The task of `on-stop`: it does its work; it cannot; it has an accident the first time; it never ends. */
  "safe well": () => endSafing(0),
  "safe slowly": () => setTimeout(() => endSafing(0), 300),
  "safe badly": () => endSafing(1),
  "safe at last": () => {
    if (existsSync(marker)) endSafing(0);
    writeFileSync(marker, "");
    process.kill(process.pid, "SIGKILL");
  },
  "safe never": () => {
    print("safe begins");
    stayAlive();
  },
  /** Has done its share when the marker is there; ends with the exit code in it. */
  recycled: () => {
    serve();
    onMarker((exitCode) => {
      tellSupervisor({ type: "recycle", why: "it has run 3 jobs" });
      process.exit(Number(exitCode));
    });
  },
  /** Ends without a word when the marker is there. */
  quiet: () => {
    serve();
    onMarker(() => process.exit(0));
  },
  /** Has begun a job, but not after a restart. */
  begun: () => {
    if (!existsSync(marker)) mapBegunRecord().job(7);
    writeFileSync(marker, "");
    serve();
  },
  mute: stayAlive,
  /** Serves at first; after a restart it never comes online. */
  "mute next time": () => {
    if (existsSync(marker)) return stayAlive();
    writeFileSync(marker, "");
    serve();
  },
  stubborn: () => {
    onLeaveRequest(() => undefined);
    stayAlive();
    tellSupervisor({ type: "online" });
  },
  /** Nothing can reach its event loop any more. */
  spinning: () => {
    serve();
    setTimeout(() => {
      print(`${kind} spins`);
      for (;;) Bun.sleepSync(1000);
    }, 20);
  },
  "crash at stop": () => {
    onLeaveRequest(() => process.exit(9));
    stayAlive();
    tellSupervisor({ type: "online" });
  },
  list: () => print('[{"name":"count"},{"name":"drive","timeoutMs":50}]'),
  "list durable": () => print('[{"name":"count"},{"name":"upload","durable":true,"moves":false}]'),
  /** A journal whose file was damaged. */
  damaged: () => {
    tellSupervisor({ type: "damaged", why: "the journal was damaged" });
    serve();
  },
  "list sources": () => print(`[{"name":"count"}]\n[{"name":"gyro","topic":"arm/gyro","everyMs":20}]`),
  /** What is in the marker, once it is there; nothing but a crash if that is "crash". */
  "list again": () => {
    const content = existsSync(marker) ? readFileSync(marker, "utf8") : '[{"name":"count"}]';
    if (content === "crash") process.exit(3);
    print(content);
  },
  "no list": () => print("hello"),
  /** Still starting, in a program that is slow to load. */
  "slow to start": serve,
};

if (behaviour === "slow to start") Bun.sleepSync(500);
dieWithSupervisor();
behaviours[behaviour]?.();
if (behaviour.startsWith("list") || behaviour === "no list") process.exit(0);
