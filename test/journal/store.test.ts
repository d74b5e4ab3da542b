/** The journal's file: what is committed is there again, once, whatever comes twice. */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { chmodSync, mkdirSync, readdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { migrate, migrations } from "../../src/journal/schema.ts";
import { JournalStore } from "../../src/journal/store.ts";
import { retentionMs } from "../../src/limits.ts";
import type { Frame } from "../../src/protocol/frame.ts";
import type { JournalEntry } from "../../src/protocol/journal.ts";
import { accepted, begun, ended, requestOf, returned } from "../support/journal.ts";
import { tempFolder } from "../support/temp-folder.ts";

const item = (entry: JournalEntry, body: Frame = "") => ({ entry, body });
const accept = (job: string, at?: number) => item(accepted(job, at), requestOf(job));
const statesOf = (store: JournalStore) =>
  Object.fromEntries(store.read(0, 0).kept.map(({ job, state, tries }) => [job, `${state} ${tries}`]));

test("jobs are there again in the order of their acceptance, with their requests and replies", () => {
  using folder = tempFolder();
  {
    using store = new JournalStore(folder.at("journal.db"));
    store.commit([accept("b"), accept("a"), item(begun("b")), item(ended("b"), '{"data":5,"pack":1}')]);
  }
  using store = new JournalStore(folder.at("journal.db"));
  const { kept, bodies, next } = store.read(0, 0);
  expect(next).toBeNull();
  expect(kept).toEqual([
    {
      ...{ job: "b", place: 1, task: "upload", state: "done", code: null, isDead: false, accepted: 1000, begun: 1001 },
      ...{
        ended: 1002,
        ms: 1.5,
        tries: 1,
        claims: 1,
        user: "laptop",
        requestor: "CLIENT-1",
        serial: "s-b",
        by: "TASK-1",
        onBehalf: null,
        schedule: null,
      },
    },
    {
      ...{ job: "a", place: 2, task: "upload", state: "queued", code: null, isDead: false, accepted: 1000 },
      ...{
        begun: null,
        ended: null,
        ms: null,
        tries: 0,
        claims: 0,
        user: "laptop",
        requestor: "CLIENT-1",
        serial: "s-a",
        by: null,
        onBehalf: null,
        schedule: null,
      },
    },
  ]);
  expect(bodies.map((body) => Buffer.from(body).toString())).toEqual([
    requestOf("b"),
    '{"data":5,"pack":1}',
    requestOf("a"),
    "",
  ]);
});

test("entries that come again change nothing, so an end stays the only one", () => {
  using folder = tempFolder();
  using store = new JournalStore(folder.at("journal.db"));
  const all = [accept("a"), item(begun("a")), item(ended("a", "TASK_ERROR"))];
  store.commit(all);
  store.commit([...all, item(ended("a")), item(returned("a")), item(begun("a", 2))]);
  expect(store.read(0, 0).kept).toMatchObject([{ job: "a", state: "failed", code: "TASK_ERROR", tries: 1 }]);
});

test("a job that has begun, was given back and is tried again says so", () => {
  using folder = tempFolder();
  using store = new JournalStore(folder.at("journal.db"));
  store.commit([accept("a"), item(begun("a"))]);
  expect(statesOf(store)).toEqual({ a: "running 1" });
  store.commit([item(returned("a"))]);
  expect(statesOf(store)).toEqual({ a: "queued 0" });
  store.commit([item(begun("a", 2, 1))]);
  expect(statesOf(store)).toEqual({ a: "running 1" });
  // Sent again, by a router that does not know that it was committed.
  store.commit([item(returned("a"))]);
  expect(statesOf(store)).toEqual({ a: "running 1" });
  store.commit([item(begun("a", 3, 2))]);
  expect(statesOf(store)).toEqual({ a: "running 2" });
});

test("a dead letter stays until it is discarded, and ends as history then", () => {
  using folder = tempFolder();
  using store = new JournalStore(folder.at("journal.db"));
  store.commit([accept("a"), item(ended("a", "STOPPED"))]);
  expect(store.count()).toEqual({ total: 1, unfinished: 0, dead: 1 });
  store.commit([item({ entry: "discarded", job: "a", at: 1003 })]);
  expect(store.count()).toEqual({ total: 1, unfinished: 0, dead: 0 });
});

test("many jobs are read in parts, and of ended ones only the newest", () => {
  using folder = tempFolder();
  using store = new JournalStore(folder.at("journal.db"));
  const names = Array.from({ length: 150 }, (_, index) => `job-${index}`);
  store.commit(names.map((name) => accept(name)));
  store.commit(names.slice(0, 100).map((name) => item(ended(name))));
  const endedAfter = store.placeBefore(10);
  const read: string[] = [];
  for (let from: number | null = 0; from !== null; ) {
    const part = store.read(from, endedAfter);
    expect(part.kept.length).toBeLessThanOrEqual(64);
    read.push(...part.kept.map(({ job }) => job));
    from = part.next;
  }
  expect(read).toEqual(names.slice(90));
});

test("ended jobs go when they are too old or the file is too large, unfinished ones never", () => {
  using folder = tempFolder();
  using store = new JournalStore(folder.at("journal.db"));
  const now = retentionMs / 1000 + 1001.5;
  store.commit([accept("waits"), accept("old"), accept("new"), item(ended("old", null, 1001)), item(ended("new"))]);
  store.retain(now);
  expect(Object.keys(statesOf(store))).toEqual(["waits", "new"]);
  store.retain(now, 1);
  expect(Object.keys(statesOf(store))).toEqual(["waits"]);
});

test("nobody else may read the file, nor write to its folder", () => {
  using folder = tempFolder();
  const path = folder.at("journal.db");
  const old = process.umask(0);
  try {
    using store = new JournalStore(path);
    store.commit([accept("a")]);
    const modes = readdirSync(folder.path).map((name) => [name, statSync(folder.at(name)).mode & 0o777]);
    expect(modes.sort()).toEqual(["", "-shm", "-wal"].map((end) => [`journal.db${end}`, 0o600]));
  } finally {
    process.umask(old);
  }
  chmodSync(folder.path, 0o777);
  expect(() => new JournalStore(path)).toThrow("can be written by other users");
});

test("what is no file of its own is refused in one line", () => {
  using folder = tempFolder({ "target.db": "" });
  symlinkSync(folder.at("target.db"), folder.at("link.db"));
  mkdirSync(folder.at("folder.db"));
  for (const name of ["link.db", "folder.db"]) {
    expect(() => new JournalStore(folder.at(name))).toThrow(`${folder.at(name)} is no file; move it away`);
  }
});

test("an older file is brought to this version, and a newer one refused", () => {
  using folder = tempFolder();
  const path = folder.at("journal.db");
  const steps = ["CREATE TABLE a (b TEXT)", "ALTER TABLE a ADD COLUMN c TEXT DEFAULT 'new'"];
  const database = new Database(path);
  migrate(database, path, steps.slice(0, 1));
  database.run("INSERT INTO a VALUES ('kept')");
  migrate(database, path, steps);
  expect(database.query("SELECT * FROM a").all()).toEqual([{ b: "kept", c: "new" }]);
  expect(() => migrate(database, path, steps.slice(0, 1))).toThrow(
    `${path} was written by a newer Task Engine (its format is 2, this one knows 1)`,
  );
  expect(() => migrate(database, path, [...steps, "NONSENSE"])).toThrow();
  expect(() => migrate(database, path, steps)).not.toThrow();
  database.close();
});

test("a file of the first version has its jobs after it was brought to this one", () => {
  using folder = tempFolder();
  const path = folder.at("journal.db");
  const database = new Database(path);
  migrate(database, path, migrations.slice(0, 1));
  database.run(`INSERT INTO jobs (job, task, state, accepted, request) VALUES ('a', 'upload', 'queued', 1, x'7b7d')`);
  database.close();
  using store = new JournalStore(path);
  expect(store.read(0, 0).kept).toMatchObject([{ job: "a", state: "queued", onBehalf: null, schedule: null }]);
  expect(store.readSchedules()).toEqual([]);
});

test("a file that is none of the journal's is no place for jobs", () => {
  using folder = tempFolder();
  writeFileSync(folder.at("journal.db"), "no database\n".repeat(1000), { mode: 0o600 });
  expect(() => new JournalStore(folder.at("journal.db"))).toThrow("file is not a database");
});
