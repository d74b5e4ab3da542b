/** A client of a fleet in another language, written from NATS' description of its protocol and from LINK.md alone. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { oneWorker, startEngine } from "../support/engine.ts";
import { lacksNats, startHub } from "../support/nats.ts";
import { tempFolder } from "../support/temp-folder.ts";

setDefaultTimeout(60_000); // a busy machine computes slowly

const tasks = `
  export const task_echo = ([value]) => value;
  export const task_secret = () => "nobody may";
  export const task_photo = () => new Uint8Array([255, 216, 0]);
  export const task_walk = async (_, __, { progress }) => {
    for (let step = 1; step <= 2; step++) { progress({ step }); await Bun.sleep(200); }
    return "there";
  };
  export const task_wait = (_, __, { signal }) =>
    new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
`;

test.skipIf(lacksNats)(
  "a Python program on a plain socket asks a robot, follows, cancels, is refused, stops and resets it",
  async () => {
    await using hub = await startHub();
    using folder = tempFolder({
      "tasks/robot.ts": tasks,
      "task-engine.toml": '[link]\nallow = ["send:echo,photo,walk,wait", "control"]\n',
    });
    await using robot = await startEngine({
      cwd: folder.path,
      flags: [...oneWorker, "--nats", hub.url, "--robot", "r7"],
    });
    await robot.line(/\[LINK\] r7 listens/);
    const script = ["/usr/bin/python3", "-I", join(import.meta.dir, "fleet.py"), `${hub.port}`, "r7"];
    const python = Bun.spawn(script, { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
    const [stdout, stderr] = await Promise.all([python.stdout.text(), python.stderr.text()]);
    expect(stderr).toBe("");
    const [first, second, ...others] = stdout.trimEnd().split("\n").splice(5, 2).sort();
    expect([first, second, others]).toEqual(['cancel {"cancelled":true}', "wait CANCELLED", []]);
    expect(stdout.split("\n").toSpliced(5, 2)).toEqual([
      "asked r7 {'from': 'Python'}",
      "walk PROGRESS {'step': 1}",
      "walk PROGRESS {'step': 2}",
      "walk ACK there",
      "photo application/octet-stream [255, 216, 0]",
      "refused UNAUTHORIZED UNAUTHORIZED",
      "absent 503",
      "robots r7 None",
      "stopped by Python True",
      "then STOPPED",
      "reset {'data': {'stopped': None}}",
      "",
    ]);
  },
  60_000,
);
