/** The journal on disks that are damaged, full or read-only, and its history. */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { Journal } from "../../src/journal/journal.ts";
import { damagedFilesMax } from "../../src/limits.ts";
import { accepted, begun, ended, requestOf } from "../support/journal.ts";
import { canMount, smallDisk } from "../support/small-disk.ts";
import { tempFolder } from "../support/temp-folder.ts";

const open = (path: string, options: Partial<ConstructorParameters<typeof Journal>[0]> = {}) => {
  const damaged: string[] = [];
  const journal = new Journal({ path, onDamaged: (name) => damaged.push(name), ...options });
  return { journal, damaged };
};

const jobsIn = (journal: Journal) => journal.read(0)?.kept.map(({ job, state }) => `${job} ${state}`);

test("what has come together is committed together, and confirmed by its last number", () => {
  using folder = tempFolder();
  const { journal } = open(folder.at("journal.db"));
  using _ = journal;
  expect(journal.commit()).toBeNull();
  journal.append(1, [accepted("a"), accepted("b")], [requestOf("a"), requestOf("b")]);
  journal.append(3, [begun("a")], [""]);
  expect(journal.commit()).toEqual({ through: 3, failure: null });
  expect(journal.commit()).toBeNull();
  expect(jobsIn(journal)).toEqual(["a running", "b queued"]);
});

test("a damaged file is set aside under another name, and the next jobs find an empty one", () => {
  using folder = tempFolder();
  const path = folder.at("journal.db");
  for (let round = 0; round <= damagedFilesMax + 1; round++) {
    writeFileSync(path, "no database\n".repeat(1000), { mode: 0o600 });
    const { journal, damaged } = open(path);
    using _ = journal;
    expect(damaged).toHaveLength(1);
    expect(damaged[0]).toMatch(/^journal\.db\.damaged-\d{4}-.*Z$/);
    expect(readFileSync(folder.at(damaged[0] ?? ""), "utf8")).toStartWith("no database");
    expect(journal.report()).toMatchObject({ damaged: damaged[0], failure: null, total: 0 });
    journal.append(1, [accepted("a")], [requestOf("a")]);
    expect(journal.commit()).toEqual({ through: 1, failure: null });
    Bun.sleepSync(2); // the next name has another time
  }
  expect(readdirSync(folder.path).filter((name) => name.includes("damaged"))).toHaveLength(damagedFilesMax);
});

test("pages that are damaged are found at the start, and a missing table is damage, too", () => {
  using folder = tempFolder();
  const path = folder.at("journal.db");
  const fill = (): void => {
    using journal = open(path).journal;
    const names = Array.from({ length: 64 }, (_, index) => `job-${index}`);
    journal.append(
      1,
      names.map((name) => accepted(name)),
      names.map((name) => requestOf(name).padEnd(4000)),
    );
    journal.commit();
  };
  const isDamaged = (): boolean => {
    const { journal, damaged } = open(path);
    journal[Symbol.dispose]();
    return damaged.length === 1;
  };
  fill();
  expect(isDamaged()).toBe(false);
  const bytes = readFileSync(path);
  bytes.fill(0xa5, 5 * 4096, bytes.length - 8 * 4096);
  writeFileSync(path, bytes);
  expect(isDamaged()).toBe(true);
  fill();
  truncateSync(path, 3 * 4096 + 100);
  expect(isDamaged()).toBe(true);
  fill();
  const database = new Database(path);
  database.run("DROP TABLE history_days");
  database.close();
  expect(isDamaged()).toBe(true);
});

test("logs are history: they are written later, within the day's budget", () => {
  using folder = tempFolder();
  const path = folder.at("journal.db");
  let now = Date.UTC(2026, 10, 28, 12);
  const { journal } = open(path, { now: () => now, historyDayBytes: 10 });
  using _ = journal;
  journal.append(1, [accepted("a"), ended("a"), { entry: "log", job: "a" }], [requestOf("a"), "", "six..."]);
  expect(journal.commit()).toEqual({ through: 3, failure: null });
  const logOf = (job: string): unknown => {
    const database = new Database(path, { readonly: true });
    const row = database.query<{ log: string }, [string]>("SELECT log FROM jobs WHERE job = ?").get(job);
    database.close();
    return row?.log;
  };
  expect(logOf("a")).toBeNull();
  journal.flushHistory();
  expect(logOf("a")).toBe("six...");
  journal.append(4, [accepted("b"), ended("b"), { entry: "log", job: "b" }], [requestOf("b"), "", "seven.."]);
  journal.commit();
  journal.flushHistory();
  expect(logOf("b")).toBeNull();
  expect(journal.report()).toMatchObject({ historyBytes: 6, historyBytesMax: 10, historyDropped: 1 });
  now += 24 * 3600 * 1000;
  journal.append(7, [{ entry: "log", job: "b" }], ["seven.."]);
  journal.commit();
  journal.flushHistory();
  expect(logOf("b")).toBe("seven..");
  expect(journal.report()).toMatchObject({ historyBytes: 7 });
});

test.skipIf(!canMount)("a full disk refuses what comes, keeps what there is, and takes more when it has room", () => {
  using disk = smallDisk("size=400k,mode=755");
  const path = `${disk.path}/journal.db`;
  const { journal } = open(path);
  using _ = journal;
  journal.append(1, [accepted("a")], [requestOf("a")]);
  expect(journal.commit()).toEqual({ through: 1, failure: null });
  disk.fill("blocks");
  journal.append(2, [accepted("large")], [requestOf("large").padEnd(300_000)]);
  expect(journal.commit()).toEqual({ through: 2, failure: expect.stringMatching(/full|I\/O/) });
  expect(journal.report().failure).not.toBeNull();
  journal.probe();
  disk.free();
  journal.probe();
  expect(journal.failure).toBeNull();
  journal.append(3, [accepted("b")], [requestOf("b")]);
  expect(journal.commit()).toEqual({ through: 3, failure: null });
  expect(jobsIn(journal)).toEqual(["a queued", "b queued"]);
});

test.skipIf(!canMount)("a read-only disk is no damage: the jobs are there when it can be written again", () => {
  using disk = smallDisk("size=1m,mode=755");
  const path = `${disk.path}/journal.db`;
  {
    using journal = open(path).journal;
    journal.append(1, [accepted("a")], [requestOf("a")]);
    journal.commit();
  }
  disk.isReadOnly = true;
  const { journal, damaged } = open(path);
  using _ = journal;
  journal.append(1, [accepted("b")], [requestOf("b")]);
  expect(journal.commit()).toEqual({ through: 1, failure: expect.any(String) });
  disk.isReadOnly = false;
  journal.append(1, [accepted("b")], [requestOf("b")]);
  expect(journal.commit()).toEqual({ through: 1, failure: null });
  expect(jobsIn(journal)).toEqual(["a queued", "b queued"]);
  expect(damaged).toEqual([]);
  expect(existsSync(path)).toBe(true);
});
