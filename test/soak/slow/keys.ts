/** An engine with keys, and all who have to do with it, as real processes. */
import { expect } from "bun:test";
import { appendFileSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { connect } from "task-engine";
import { keyPattern, readKeyPair, writeCertificate } from "../../../src/security/certificate.ts";
import { makeKeyPair } from "../../../src/security/keys.ts";
import { test } from "../../support/concurrent.ts";
import { until } from "../../support/connections.ts";
import { type Engine, oneWorker, runCommand, startEngine } from "../../support/engine.ts";
import { taskEngine } from "../../support/executable.ts";
import { socketsOf } from "../../support/local-sockets.ts";
import { freePorts } from "../../support/ports.ts";
import { runProgram } from "../../support/program.ts";
import { rejection } from "../../support/rejection.ts";
import { type TempFolder, tempFolder } from "../../support/temp-folder.ts";

const limitMs = 300_000; // they wait for one another

/** A home with the keys of an engine and of those clients, who are let in with their rights. */
const homeWith = (clients: Readonly<Record<string, string>>): TempFolder & { env: Record<string, string> } => {
  const home = tempFolder({
    "tasks/slow.ts": "export const task_slow = async ([ms]) => (await Bun.sleep(ms), 'slept');",
  });
  const env = { PATH: process.env.PATH ?? "", HOME: home.path };
  const keygen = (name: string): string => {
    const pair = makeKeyPair();
    writeCertificate(home.at(".config/task-engine"), name, pair, false);
    return pair.publicKey;
  };
  keygen("engine");
  let authorized = "";
  for (const [name, rights] of Object.entries(clients)) authorized += `${keygen(name)} ${name} ${rights}\n`;
  writeFileSync(home.at(".config/task-engine/authorized"), authorized);
  return { ...home, env };
};

const keyFile = (home: TempFolder, name: string): string => home.at(`.config/task-engine/${name}`);

const startWithKeys = (home: TempFolder & { env: Record<string, string> }, ...flags: string[]): Promise<Engine> =>
  startEngine({ env: home.env, cwd: home.path, flags: ["--key", keyFile(home, "engine.key_secret"), ...flags] });

test(
  "an engine with keys serves whoever has the right ones, by every verb, and nobody else; who may send may stop it; no process shows a secret",
  async () => {
    using home = homeWith({
      ...{ client: "send read write control", sender: "send:count", robot: "worker", stranger: "read" },
    });
    await using engine = await startWithKeys(home, "--task-workers", "1");
    const router = ["--router", engine.endpoint];
    const outputs = async (...args: string[]): Promise<string> => {
      const { stdout, stderr } = await engine.run(...args);
      return stdout + stderr;
    };
    expect(await outputs("send", "count", "2", "3", ...router)).toBe("5\n");
    expect(await outputs("send", "count", "2", "3", "--direct", `tcp://127.0.0.1:${engine.ports.worker}`)).toBe("5\n");
    expect(await outputs("data", "put", "arm/angle", "30", ...router)).toBe("");
    expect(await outputs("data", "get", "arm/angle", ...router)).toBe("30\n");
    expect(JSON.parse(await outputs("status", "--json", ...router)).security).toBe("curve");
    expect(socketsOf(engine.ports.frontend)).toEqual({ listening: 0, connected: 0 });
    expect(await outputs("send", "count", "--key", keyFile(home, "stranger.key_secret"), ...router)).toContain(
      "UNAUTHORIZED: client stranger lacks the right send:count",
    );
    const nobody = await engine.run("send", "count", "--key", "none", ...router);
    expect([nobody.exitCode, nobody.stderr]).toEqual([3, expect.stringContaining("the engine there has keys")]);

    const files = { serverKey: keyFile(home, "engine.key"), key: keyFile(home, "client.key_secret") };
    await using client = connect(engine.endpoint, files);
    for await (const { topic, data } of client.subscribe("arm/")) {
      expect([topic, data]).toEqual(["arm/angle", 30]);
      break;
    }
    const backend = `tcp://127.0.0.1:${engine.ports.backend}`;
    const keys = ["--server-key", files.serverKey, "--key", keyFile(home, "robot.key_secret")];
    await using worker = runProgram(["worker", "--router", backend, ...keys]);
    await worker.line(/Joined/);
    const { workers } = await client.status();
    expect(
      workers
        .filter(({ supervised }) => !supervised)
        .map(({ role }) => role)
        .sort(),
    ).toEqual(["data", "task"]);

    const secrets = ["engine", "client", "robot"].map(
      (name) => readKeyPair(keyFile(home, `${name}.key_secret`)).secretKey,
    );
    const pids = [engine.pid, worker.pid, ...engine.childPids];
    const shown = pids.flatMap((pid) =>
      ["cmdline", "environ"].map((file) => readFileSync(`/proc/${pid}/${file}`, "utf8")),
    );
    expect(shown).toHaveLength(10);
    for (const secret of secrets) expect(shown.filter((text) => text.includes(secret))).toEqual([]);
    // Of the workers' own pair nobody has the file: nothing that looks like a key at all is there, but for paths.
    const words = shown.flatMap((text) => text.split(/[\0\s]|=(?=.{40}\0)/));
    expect(words.filter((word) => keyPattern.test(word) && !word.startsWith("/"))).toEqual([]);
    expect(engine.lines.concat(engine.errorLines).join("\n")).not.toContain(secrets[0] ?? "");

    const socket = `${engine.state}/${engine.ports.frontend}/stop.sock`;
    expect(statSync(socket).mode & 0o777).toBe(0o600);
    const estop = (name: string) =>
      engine.run("estop", "--state", "/none", "--key", keyFile(home, `${name}.key_secret`), ...router);
    const refused = await estop("stranger");
    expect(refused.exitCode).toBe(1);
    expect(refused.stderr).toMatch(/^task-engine: NOT stopped: .*UNAUTHORIZED/);
    expect(await outputs("send", "count", "1", "2", ...router)).toBe("3\n");
    expect(await estop("sender")).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/^stopped/) });
    const reset = await engine.run("reset", "--key", keyFile(home, "sender.key_secret"), ...router);
    expect(reset).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("UNAUTHORIZED") });
  },
  limitMs,
);

test(
  "an engine with keys stops by itself, whoever is connected and does not read: none of its processes is killed",
  async () => {
    using home = homeWith({ client: "send read write", robot: "worker" });
    const engine = await startWithKeys(home, "--task-workers", "1");
    const keys = (name: string) => [
      ...["--server-key", keyFile(home, "engine.key")],
      ...["--key", keyFile(home, `${name}.key_secret`)],
    ];
    const router = ["--router", engine.endpoint];
    await engine.run("data", "put", "pose", "1", ...router);
    await using worker = runProgram([
      ...["worker", "--router", `tcp://127.0.0.1:${engine.ports.backend}`],
      ...keys("robot"),
    ]);
    await using subscriber = runProgram(["data", "watch", ...router, ...keys("client")]);
    await Promise.all([worker.line(/Joined/), subscriber.line(/^pose/)]);
    worker.signal("SIGSTOP");
    subscriber.signal("SIGSTOP");
    // A connection whose handshake never ends.
    const ignored = { data: () => undefined };
    const silent = await Bun.connect({ hostname: "127.0.0.1", port: engine.ports.frontend, socket: ignored });
    engine.signal("SIGTERM");
    expect(await engine.ended()).toBe(0);
    silent.end();
    expect(engine.lines.filter((line) => /^Successfully terminated process/.test(line))).toHaveLength(3);
    expect(engine.lines.filter((line) => /^Killed process/.test(line))).toEqual([]);
    await engine[Symbol.asyncDispose]();
  },
  limitMs,
);

test(
  "with keys a worker that has done its share, or is replaced by a reload, or leaves its engine, ends by itself",
  async () => {
    using home = homeWith({ client: "send", robot: "worker" });
    const keys = ["--server-key", keyFile(home, "engine.key"), "--key", keyFile(home, "robot.key_secret")];
    await using lonely = runProgram(["worker", "--router", `tcp://127.0.0.1:${freePorts(1)}`, ...keys]);
    await using engine = await startWithKeys(home, "--worker-jobs-max", "1", ...oneWorker);
    expect((await engine.run("send", "count", "2", "3", "--router", engine.endpoint)).stdout).toBe("5\n");
    await engine.line(/task worker ended with exit code 0, for it has run 1 jobs; starting another/);
    const listeners = () => engine.lines.filter((line) => line.endsWith("(TASK)] Listener online"));
    await until("another worker", () => listeners().length === 2);
    engine.signal("SIGHUP");
    await engine.line(/task worker ended with exit code 0.*, for the task files are read again; starting another/);
    await engine.line(/Task workers are replaced/);

    const backend = ["--router", `tcp://127.0.0.1:${engine.ports.backend}`];
    await using worker = runProgram(["worker", ...backend, ...keys]);
    await Promise.all([worker.line(/Joined/), lonely.line(/Starting worker/)]);
    for (const program of [worker, lonely]) program.signal("SIGTERM");
    expect(await Promise.all([worker.ended(), lonely.ended()])).toEqual([0, 0]);
  },
  limitMs,
);

test(
  "SIGHUP lets in who is new, cuts off who is gone, and disturbs nobody else's job; a broken file lets nobody in",
  async () => {
    using home = homeWith({ client: "send write control", phone: "send read" });
    await using engine = await startWithKeys(home, "--tasks", home.at("tasks"));
    const clientWith = (name: string) =>
      connect(engine.endpoint, {
        serverKey: keyFile(home, "engine.key"),
        key: keyFile(home, `${name}.key_secret`),
        waitMs: 20_000,
      });
    await using client = clientWith("client");
    await using phone = clientWith("phone");
    expect(await phone.call("count", [1, 2])).toBe(3);
    await client.publish("pose", 1, { confirm: true });
    const poses = phone.subscribe("pose");
    expect((await poses.next()).value).toMatchObject({ topic: "pose", data: 1 });
    const running = client.call("slow", [3_000]);
    const authorized = readFileSync(keyFile(home, "authorized"), "utf8");
    const [line = ""] = authorized.split("\n");
    writeFileSync(keyFile(home, "authorized"), `${line}\n`);
    engine.signal("SIGHUP");
    // The engine may take one more before it has heard of the signal.
    let cut: unknown = 3;
    while (cut === 3) cut = await phone.call("count", [1, 2], {}, { waitMs: 2_500 }).catch(({ code }) => code);
    expect(["INTERRUPTED", "NO_ANSWER", "UNAUTHORIZED"]).toContain(String(cut));
    // So may the data worker.
    const isSeen = async (): Promise<boolean> => {
      await client.publish("pose", 2, { confirm: true });
      // The read's error says why it was cut off.
      const next = poses.next().then(
        ({ done }) => done !== true,
        ({ code }) => code !== "UNAUTHORIZED",
      );
      return (await Promise.race([next, Bun.sleep(300)])) === true;
    };
    await until("the subscriber is cut off", async () => !(await isSeen()));
    // Its job ran over the same port and the same workers, one of which is replaced meanwhile.
    expect(await running).toBe("slept");

    appendFileSync(keyFile(home, "authorized"), "nonsense\n");
    engine.signal("SIGHUP");
    await engine.line(/^No client is authorized: .*authorized, line 2: begins with no public key/);
    const closed = await rejection(client.call("count", [1, 2], {}, { waitMs: 1_500 }));
    expect(["NO_ANSWER", "UNAUTHORIZED"]).toContain(closed.code);

    writeFileSync(keyFile(home, "authorized"), authorized);
    engine.signal("SIGHUP");
    await using again = clientWith("phone");
    expect(await again.call("count", [1, 2])).toBe(3);
  },
  limitMs,
);

test(
  "SIGHUP answers UNAUTHORIZED to all that a client who has less rights, or whose line is gone, has in flight, be it that it waits or runs",
  async () => {
    using home = homeWith({ phone: "send:slow", client: "send control" });
    await using engine = await startWithKeys(home, "--tasks", home.at("tasks"), "--data-workers", "0");
    const clientWith = (name: string, endpoint: string) =>
      connect(endpoint, { serverKey: keyFile(home, "engine.key"), key: keyFile(home, `${name}.key_secret`) });
    await using client = clientWith("client", engine.endpoint);
    const [phones = "", clients = ""] = readFileSync(keyFile(home, "authorized"), "utf8").split("\n");
    const authorize = (line: string): void => {
      writeFileSync(keyFile(home, "authorized"), `${line}\n${clients}\n`);
      engine.signal("SIGHUP");
    };
    const reloads = () => engine.lines.filter((line) => line.includes("Task workers are replaced")).length;
    const losses: readonly [line: string, message: string][] = [
      [phones.replace("send:slow", "send:count"), "client phone lacks the right send:slow"],
      ["", "client phone is not authorized any more"],
    ];
    for (const [round, [line, message]] of losses.entries()) {
      await using phone = clientWith("phone", engine.endpoint);
      await using direct = clientWith("phone", `tcp://127.0.0.1:${engine.ports.worker}`);
      expect(await direct.call("slow", [0])).toBe("slept");
      const calls = [
        ...Array.from({ length: 51 }, () => phone.call("slow", [60_000])),
        ...Array.from({ length: 3 }, () => direct.call("slow", [60_000])),
      ];
      const outcomes = Promise.all(calls.map(rejection));
      await until("51 in flight", async () => {
        const { jobs } = await client.status();
        return jobs.held === 2 && jobs.waiting === 49;
      });
      authorize(line);
      for (const { code, message: said } of await outcomes) expect([code, said]).toEqual(["UNAUTHORIZED", message]);
      expect(await client.call("count", [2, 3])).toBe(5);
      const { jobs } = await client.status();
      expect(jobs.failed).toEqual({ UNAUTHORIZED: 51 * (round + 1) });
      authorize(phones);
      await until("it is let in again", () => reloads() === 2 * round + 2);
    }
  },
  limitMs,
);

test(
  "an address that others reach is refused without keys, and shown in status when it is forced",
  async () => {
    const env = { PATH: process.env.PATH ?? "", HOME: process.env.HOME ?? "/" };
    const refused = await runCommand(taskEngine, ["serve", "--host", "0.0.0.0"], { env });
    expect(refused.exitCode).toBe(1);
    expect(refused.stderr).toContain("--host: 0.0.0.0 can be reached from other machines");
    expect(refused.stderr.trim().split("\n")).toHaveLength(1);
    const backend = ["--backend", "tcp://127.0.0.1:1"];
    for (const role of [
      ["router", "--backend-port", "1"],
      ["task-worker", ...backend],
      ["data-worker", ...backend, "--stream-port", "1"],
    ]) {
      const address = ["--host", "0.0.0.0", "--port", String(freePorts(1))];
      const byHand = await runCommand(taskEngine, [...role, ...address], { env });
      expect([byHand.exitCode, byHand.stderr]).toEqual([2, expect.stringContaining("0.0.0.0 can be reached")]);
    }
    await using engine = await startEngine({ flags: ["--host", "0.0.0.0", "--insecure", ...oneWorker] });
    const { stdout } = await engine.run("status", "--router", engine.endpoint);
    expect(stdout).toContain("INSECURE: without keys, for everybody who reaches it");
  },
  limitMs,
);

test(
  "a key that others can read does not start an engine, nor a client",
  async () => {
    using home = homeWith({ client: "send" });
    for (const name of readdirSync(home.at(".config/task-engine")))
      Bun.spawnSync(["chmod", "644", keyFile(home, name)]);
    const port = String(freePorts(1));
    const serve = ["serve", "--port", port, "--key", keyFile(home, "engine.key_secret")];
    const refused = await runCommand(taskEngine, serve, { env: home.env });
    expect([refused.exitCode, refused.stderr]).toEqual([1, expect.stringContaining("a secret that others can read")]);
    const asked = await runCommand(taskEngine, ["tasks"], { env: home.env });
    expect([asked.exitCode, asked.stderr]).toEqual([
      2,
      expect.stringContaining("client.key_secret is a secret that others"),
    ]);
  },
  limitMs,
);

test(
  "keygen prints the line that lets its owner in, and refuses names and rights that could not stand there",
  async () => {
    using home = tempFolder();
    const keygen = (...args: string[]) =>
      runCommand(taskEngine, ["keygen", ...args, "--dir", home.path], {
        env: { PATH: process.env.PATH ?? "", HOME: home.path },
      });
    const made = await keygen("laptop", "--rights", "send:count read");
    expect(made.stdout).toBe(`${readKeyPair(home.at("laptop.key_secret")).publicKey} laptop send:count read\n`);
    for (const right of ["send", "read", "write", "control", "worker"]) expect(made.stderr).toContain(`${right} (`);
    expect(made.stderr).toContain(`Made ${home.at("laptop.key")}, the public key: `);
    expect(made.stderr).toContain(`Made ${home.at("laptop.key_secret")}, the secret key: it stays here`);
    const again = await keygen("laptop");
    expect([again.exitCode, again.stderr]).toEqual([1, expect.stringContaining("--force replaces it")]);
    expect((await keygen("laptop", "--force")).exitCode).toBe(0);
    for (const args of [["../laptop"], ["a b"], ["x", "--rights", "everything"]]) {
      expect((await keygen(...args)).exitCode).toBe(2);
    }
  },
  limitMs,
);
