import { expect, test } from "bun:test";
import { loadConfig } from "../../src/config.ts";
import { stateFolder, stateFolders, systemStateFolder } from "../../src/security/state-folders.ts";

const isRoot = process.geteuid?.() === 0;
const asRoot = test.skipIf(!isRoot);
const asUser = test.skipIf(isRoot);

test("the service's state is where systemd says, the first of several places", () => {
  expect(stateFolder({ STATE_DIRECTORY: "/var/lib/robot:/var/lib/other", HOME: "/home/pi" })).toBe("/var/lib/robot");
});

asRoot("root's state is the system's", () => {
  expect(stateFolder({ HOME: "/root", XDG_STATE_HOME: "/x" })).toBe(systemStateFolder);
  expect(stateFolders({ HOME: "/root" })).toEqual([systemStateFolder]);
});

asUser("a user's state is by the XDG specification, and who looks for an engine looks at the service's, too", () => {
  expect(stateFolder({ HOME: "/home/pi" })).toBe("/home/pi/.local/state/task-engine");
  expect(stateFolder({ HOME: "/home/pi", XDG_STATE_HOME: "relative" })).toBe("/home/pi/.local/state/task-engine");
  const environment = { HOME: "/home/pi", XDG_STATE_HOME: "/state", STATE_DIRECTORY: "/var/lib/robot" };
  expect(stateFolders(environment)).toEqual(["/state/task-engine", systemStateFolder]);
});

test("a folder that is named wins over all of them, as an absolute path", async () => {
  const environment = { STATE_DIRECTORY: "/var/lib/robot", TASK_ENGINE_STATE: "kept" };
  const load = (flags: Record<string, string>) => loadConfig({ flags, environment, folder: "/srv" });
  expect((await load({})).state).toBe("/srv/kept");
  expect((await load({ state: "/flag" })).state).toBe("/flag");
});
