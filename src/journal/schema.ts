/**
 * The tables of the journal's file; JOURNAL.md describes them. `user_version` of the file is the
 * number of migrations that it has seen.
 */
import type { Database } from "bun:sqlite";
import { StartError } from "../transport/start-error.ts";

/** Each brings a file to the next version. One that was released never changes. */
export const migrations: readonly string[] = [
  `CREATE TABLE jobs (
     place INTEGER PRIMARY KEY AUTOINCREMENT,
     job TEXT NOT NULL UNIQUE,
     task TEXT NOT NULL,
     state TEXT NOT NULL,
     code TEXT,
     dead INTEGER NOT NULL DEFAULT 0,
     accepted REAL NOT NULL,
     begun REAL,
     ended REAL,
     ms REAL,
     tries INTEGER NOT NULL DEFAULT 0,
     claims INTEGER NOT NULL DEFAULT 0,
     user TEXT,
     requestor TEXT,
     serial TEXT,
     by TEXT,
     request BLOB NOT NULL,
     reply BLOB,
     log TEXT
   ) STRICT;
   CREATE INDEX unfinished ON jobs (place) WHERE ended IS NULL OR dead = 1;
   CREATE INDEX ended ON jobs (ended) WHERE ended IS NOT NULL;
   CREATE TABLE history_days (day TEXT PRIMARY KEY, bytes INTEGER NOT NULL) STRICT;`,
  `ALTER TABLE jobs ADD COLUMN person TEXT;
   ALTER TABLE jobs ADD COLUMN schedule TEXT;
   CREATE TABLE schedules (schedule TEXT PRIMARY KEY, rule TEXT NOT NULL, at REAL NOT NULL) STRICT;`,
];

/**
 * Brings a file to the newest version. Throws StartError for a file of a later version.
 * @param steps the migrations, by default those of this version
 */
export const migrate = (database: Database, path: string, steps: readonly string[] = migrations): void => {
  const found = versionOf(database);
  if (found > steps.length) {
    throw new StartError(
      `${path} was written by a newer Task Engine (its format is ${found}, this one knows ${steps.length}); ` +
        "install that version, or move the file away",
    );
  }
  if (found === steps.length) return;
  database.transaction(() => {
    for (const step of steps.slice(found)) database.run(step);
    database.run(`PRAGMA user_version = ${steps.length}`);
  })();
};

const versionOf = (database: Database): number =>
  database.query<{ readonly user_version: number }, []>("PRAGMA user_version").get()?.user_version ?? 0;
