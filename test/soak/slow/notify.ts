/** A real engine tells a real socket, as it would tell systemd. */
import { expect, setDefaultTimeout } from "bun:test";
import { readFileSync } from "node:fs";
import { test } from "../../support/concurrent.ts";
import { type Engine, oneWorker, startEngine } from "../../support/engine.ts";
import { hasPython, startManager } from "../../support/manager.ts";
import { tempFolder } from "../../support/temp-folder.ts";

setDefaultTimeout(300_000); // they wait for one another
const withPython = test.skipIf(!hasPython && process.env.CI === undefined);
const shell = { PATH: process.env.PATH ?? "", HOME: process.env.HOME ?? "/" };

const startNotifying = (address: string, env: Record<string, string> = {}): Promise<Engine> =>
  startEngine({ env: { ...shell, NOTIFY_SOCKET: address, ...env }, flags: oneWorker });

withPython(
  "it says that it is ready, reloads, is ready again and stops, as its own main process, each at its time",
  async () => {
    using folder = tempFolder();
    await using manager = await startManager(folder.at("notify"));
    await using engine = await startNotifying(manager.address);
    const ready = await manager.heard("READY");
    expect(ready).toMatchObject({ pid: engine.pid, words: { STATUS: `Serving at ${engine.endpoint}` } });
    expect(manager.notices).toEqual([ready]);

    engine.signal("SIGHUP");
    await manager.heard("READY", 2);
    const [, reloading] = manager.notices;
    expect(manager.notices.map(({ words }) => Object.keys(words)[0])).toEqual(["READY", "RELOADING", "READY"]);
    const saidUs = Number(reloading?.words.MONOTONIC_USEC);
    expect(saidUs).toBeGreaterThan(ready.heardUs);
    expect(saidUs).toBeLessThanOrEqual(reloading?.heardUs ?? 0);
    await engine.line(/Task workers are replaced/);

    engine.signal("SIGTERM");
    expect(await engine.ended()).toBe(0);
    const stopping = await manager.heard("STOPPING");
    // The grace for running jobs of 5 s, and what the end of the processes may take.
    expect(Number(stopping.words.EXTEND_TIMEOUT_USEC)).toBeGreaterThan(5_000_000);
    expect(new Set(manager.notices.map(({ pid }) => pid))).toEqual(new Set([engine.pid]));
  },
);

withPython("an abstract socket will do, and no child knows of it", async () => {
  await using manager = await startManager(`@task-engine-test-${process.pid}`);
  await using engine = await startNotifying(manager.address, { WATCHDOG_USEC: "1000000" });
  await manager.heard("READY");
  expect(engine.childPids.length).toBeGreaterThan(0);
  for (const pid of engine.childPids) {
    expect(readFileSync(`/proc/${pid}/environ`, "utf8")).not.toMatch(/NOTIFY_SOCKET|WATCHDOG/);
  }
});

withPython("it gives its sign of life for as long as the router answers, and only then", async () => {
  using folder = tempFolder();
  await using manager = await startManager(folder.at("notify"));
  await using engine = await startNotifying(manager.address, { WATCHDOG_USEC: "100000" });
  await manager.heard("WATCHDOG", manager.of("WATCHDOG").length + 3);

  const [router = 0] = engine.pidsOf("router");
  process.kill(router, "SIGSTOP");
  // One may be on its way, and one answer of the router's.
  const countMax = manager.of("WATCHDOG").length + 2;
  await Bun.sleep(500);
  expect(manager.of("WATCHDOG").length).toBeLessThanOrEqual(countMax);
  process.kill(router, "SIGCONT");
  await manager.heard("WATCHDOG", countMax + 3);

  process.kill(router, "SIGKILL"); // what dies is started again, and that is no reason to kill everything
  await engine.line(/router ended by SIGKILL/);
  await manager.heard("WATCHDOG", manager.of("WATCHDOG").length + 3);
});

withPython("a watchdog that is meant for another process is not its own", async () => {
  using folder = tempFolder();
  await using manager = await startManager(folder.at("notify"));
  await using engine = await startNotifying(manager.address, { WATCHDOG_USEC: "1000", WATCHDOG_PID: "1" });
  engine.signal("SIGTERM");
  await engine.ended();
  await manager.heard("STOPPING");
  expect(manager.of("WATCHDOG")).toEqual([]);
});

test("an engine whose socket leads nowhere says so once for each thing it could not tell, and serves", async () => {
  await using engine = await startNotifying("/nonexistent/notify");
  await engine.line(/^systemd could not be told READY=1/);
  expect((await engine.run("send", "count", "2", "3", "--router", engine.endpoint)).stdout).toBe("5\n");
});

test("an address that is none is said to be none, and the engine serves", async () => {
  await using engine = await startNotifying("vsock:2:1234");
  await engine.line(/^systemd cannot be notified: NOTIFY_SOCKET: vsock:2:1234 is neither an absolute path nor @NAME/);
});
