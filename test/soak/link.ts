/**
 * A fleet whose cable is cut and whose hub is killed under load: a hub on one machine; a leaf node and three robots on another.
 * No job that is not idempotent runs twice, and each job that the fleet has accepted has one end. Needs root (Linux,
 * `ip netns`) and Debian's nats-server. CUTS and KILLS say how often.
 */
import { afterAll, test as anyTest, expect, setDefaultTimeout } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { Cable } from "../support/cable.ts";
import { type Engine, oneWorker, startEngine } from "../support/engine.ts";
import { taskEngine } from "../support/executable.ts";
import type { Accepted } from "../support/fleet-load.ts";
import { lacksNats } from "../support/nats.ts";
import { tempFolder } from "../support/temp-folder.ts";

setDefaultTimeout(3_600_000);

const cuts = Number(process.env.CUTS ?? 100);
const kills = Number(process.env.KILLS ?? 20);
const cable = lacksNats ? null : Cable.plug();
if (cable === null && process.env.CI === undefined)
  process.stderr.write("no network namespaces or no nats-server here\n");
const test = anyTest.skipIf(cable === null && process.env.CI === undefined);
afterAll(() => cable?.[Symbol.dispose]());

const hubAddress = "192.168.1.30";
const robots = ["r1", "r2", "r3"] as const;

const tasks = `
  import { appendFileSync } from "node:fs";
  const run = async ([key]) => {
    appendFileSync(process.env.RECORD, key + "\\n");
    await Bun.sleep(Math.random() * 40);
    return key;
  };
  export const task_note = { moves: false, run };
  export const task_note_again = { moves: false, idempotent: true, run };
`;

test("no job that is not idempotent runs twice, and each accepted one has exactly one end", async () => {
  if (cable === null) throw new Error("no network namespaces are to be had: run it as root on Linux, with nats-server");
  using folder = tempFolder({
    "tasks/robot.ts": tasks,
    "hub.conf": `
      listen: "0.0.0.0:4222", ping_interval: "1s", ping_max: 2
      leafnodes { listen: "0.0.0.0:7422" }
      jetstream { store_dir: "STORE", domain: hub }`,
    "leaf.conf": `
      listen: "127.0.0.1:4222", ping_interval: "1s", ping_max: 2
      mappings { "$JS.API.>": "$JS.hub.API.>", "$KV.>": "$JS.hub.API.$KV.>" }
      leafnodes { reconnect: 1, remotes: [{ url: "nats-leaf://${hubAddress}:7422" }] }`,
  });
  const record = folder.at("record");
  await Bun.write(
    folder.at("task-engine.toml"),
    `[env]\nRECORD = ${JSON.stringify(record)}\n[link]\nallow = ["send"]\n`,
  );
  await Bun.write(
    folder.at("hub.conf"),
    readFileSync(folder.at("hub.conf"), "utf8").replace("STORE", folder.at("store")),
  );
  const serverAt = (machine: "robot" | "laptop", config: string) =>
    Bun.spawn([...cable.at(machine), "/usr/sbin/nats-server", "--config", folder.at(config)], {
      stdin: "ignore",
      stdout: "ignore",
      stderr: "ignore",
    });
  let hub = serverAt("laptop", "hub.conf");
  const leaf = serverAt("robot", "leaf.conf");
  const command = [...cable.at("robot"), ...taskEngine];
  const engines: Engine[] = [];
  for (const robot of robots) {
    const flags = [...oneWorker, "--nats", "nats://127.0.0.1:4222", "--robot", robot, "--groups", "all-of-them"];
    engines.push(await startEngine({ command, cwd: folder.path, flags }));
  }
  const load = Bun.spawn(
    [
      ...cable.at("laptop"),
      process.execPath,
      `${import.meta.dir}/../support/fleet-load.ts`,
      "127.0.0.1",
      "r1,r2,r3",
      "40",
    ],
    { stdin: "pipe", stdout: "pipe", stderr: process.env.CI === undefined ? "inherit" : "ignore" },
  );
  try {
    while (!existsSync(record) && load.exitCode === null) await Bun.sleep(50);
    const total = cuts + kills;
    let killed = 0;
    for (let number = 0; number < total; number++) {
      const isKill = Math.floor(((number + 1) * kills) / total) > killed;
      if (isKill) {
        killed++;
        hub.kill("SIGKILL");
        await hub.exited;
        await Bun.sleep(Math.random() * 500);
        hub = serverAt("laptop", "hub.conf");
      } else {
        cable.cut();
        await Bun.sleep(Math.random() * (number % 10 === 9 ? 4_000 : 800));
        cable.mend();
      }
      await Bun.sleep(300 + Math.random() * 700);
    }
    load.stdin.write("end\n");
    load.stdin.end();
    const jobs: Accepted[] = JSON.parse(await load.stdout.text());
    const runs = Map.groupBy(readFileSync(record, "utf8").trimEnd().split("\n"), (key) => key);
    const timesOf = ({ key }: Accepted): number => runs.get(key)?.length ?? 0;
    const ends = Object.groupBy(jobs, ({ state }) => state);
    const counts = Object.entries(ends).map(([state, list]) => `${list?.length} ${state}`);
    process.stderr.write(`${jobs.length} jobs: ${counts.join(", ")}; ${runs.size} ran\n`);
    expect(jobs.length).toBeGreaterThan(50);
    // Also of those that the sender was not told to be accepted.
    const twice = [...runs].filter(([key, times]) => Number(key) % 2 === 0 && times.length > 1);
    expect(twice).toEqual([]);
    expect(jobs.filter(({ isStable }) => !isStable)).toEqual([]);
    expect(jobs.filter((job) => job.state === "done" && timesOf(job) === 0)).toEqual([]);
    expect(new Set(jobs.map(({ code }) => code)).difference(new Set([null, "INTERRUPTED"]))).toEqual(new Set());
  } finally {
    load.kill();
    await Promise.all(engines.map((engine) => engine[Symbol.asyncDispose]()));
    for (const server of [hub, leaf]) server.kill("SIGKILL");
    await Promise.all([hub.exited, leaf.exited, load.exited]);
  }
});
