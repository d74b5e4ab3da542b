import { expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { nameLengthMax, pausedMax } from "../../src/limits.ts";
import { Children } from "../../src/supervisor/children.ts";
import { PauseControl } from "../../src/supervisor/pauses.ts";
import { tempFolder } from "../support/temp-folder.ts";

const nothing = (): void => undefined;
const open = (folder: string) => PauseControl.open(folder, new Children({ env: {} }, folder, nothing, nothing));

test("what is paused is in a file of the user's alone, which the next start reads, and resumed is gone from it", async () => {
  using folder = tempFolder();
  const { pauses, damage } = await open(folder.path);
  expect(damage).toBeNull();
  expect(await pauses.keep({ of: "task", name: "photo", since: 5 })).toBeNull();
  expect(await pauses.keep({ of: "schedule", name: "nightly", since: 6 })).toBeNull();
  expect(statSync(folder.at("paused")).mode & 0o777).toBe(0o600);
  const again = await open(folder.path);
  expect(again.damage).toBeNull();
  expect(await again.pauses.keep({ of: "schedule", name: "nightly", since: null })).toBeNull();
  expect(await again.pauses.keep({ of: "task", name: "never", since: null })).toBeNull();
  expect(JSON.parse(readFileSync(folder.at("paused"), "utf8"))).toEqual({
    tasks: [{ name: "photo", since: 5 }],
    schedules: [],
  });
});

test("changes at the same moment are all kept, as many as there may be", async () => {
  using folder = tempFolder();
  const { pauses } = await open(folder.path);
  const name = (index: number): string => `${index}`.padEnd(nameLengthMax, "€");
  const all = Array.from({ length: pausedMax }, (_, index) =>
    pauses.keep({ of: "task", name: name(index), since: index }),
  );
  expect(new Set(await Promise.all(all))).toEqual(new Set([null]));
  expect((await open(folder.path)).damage).toBeNull();
  expect(JSON.parse(readFileSync(folder.at("paused"), "utf8")).tasks).toHaveLength(pausedMax);
});

test.each(["", "{", '{"tasks":[{"name":1,"since":2}],"schedules":[]}', "[]"])(
  "a file that nobody can read is set aside and said: %p",
  async (text) => {
    using folder = tempFolder();
    writeFileSync(folder.at("paused"), text);
    const { damage } = await open(folder.path);
    expect(damage).toContain(`${folder.at("paused.damaged")} now: pause again what has to wait`);
    expect(readFileSync(folder.at("paused.damaged"), "utf8")).toBe(text);
    expect(existsSync(folder.at("paused"))).toBe(false);
    expect((await open(folder.path)).damage).toBeNull();
  },
);

test("a disk that does not take it is said in one line, and the next change tries anew", async () => {
  using folder = tempFolder();
  const { pauses } = await open(folder.path);
  mkdirSync(folder.at("paused.next"));
  expect(await pauses.keep({ of: "task", name: "photo", since: 5 })).toMatch(/^EISDIR/);
  rmSync(folder.at("paused.next"), { recursive: true });
  expect(await pauses.keep({ of: "task", name: "blink", since: 6 })).toBeNull();
  expect(JSON.parse(readFileSync(folder.at("paused"), "utf8")).tasks).toHaveLength(2);
});
