/**
 * `status` shows the state of a running engine: its workers, its tasks and their run times, its
 * failures, what it dropped, and its limits.
 *
 * Sends CONTROL `status`. Prints tables for a person, or with `--json` the whole answer on one
 * line. With `--watch` it repeats each second, on a terminal in place, until Ctrl-C or SIGTERM.
 * The tables then also follow the engine's own topics: they come anew at each event, and begin with
 * the last ones.
 *
 * Exits with 0; 1 if the engine refused; 2 for wrong usage; 3 if there is no engine or no answer
 * in time.
 */
import type { EngineStatus } from "../client/client.ts";
import { watchIntervalMs, watchPauseMs } from "../limits.ts";
import { isTerminal, printable } from "../process/streams.ts";
import { defineCommand } from "./command.ts";
import { endRequested, engineArgs, withEngine } from "./engine.ts";
import { printResult, stdoutClosed, writeOut } from "./output.ts";
import { LastEvents } from "./status-events.ts";

export const statusCommand = defineCommand({
  meta: { name: "status", description: "Show what a running engine does" },
  args: {
    ...engineArgs,
    json: { type: "boolean", description: "Print JSON" },
    watch: { type: "boolean", description: "Show it again each second, until Ctrl-C" },
  },
  run: async ({ args }) => {
    await withEngine(args, async (engine, endpoint) => {
      const show = (status: EngineStatus, events: readonly string[] = []): Promise<void> =>
        args.json
          ? printResult(JSON.stringify(status))
          : printTables(describeStatus(endpoint, status, events), args.watch === true);
      if (!args.watch) return show(await engine.status());
      await using events = args.json ? null : new LastEvents(engine);
      const end = Promise.race([endRequested(), stdoutClosed]).then(() => "end" as const);
      const showAgain = async (): Promise<void> => show(await engine.status(), events?.read());
      // An engine that does not answer, or a reader that does not read, must not block the end.
      while ((await Promise.race([showAgain(), end])) !== "end") {
        const pause = Bun.sleep(watchIntervalMs);
        // Many events are shown together.
        if ((await Promise.race([Bun.sleep(watchPauseMs), end])) === "end") return;
        if ((await Promise.race([pause, ...(events === null ? [] : [events.news]), end])) === "end") return;
      }
    });
  },
});

const home = "\u001b[H";
const eraseToEndOfLine = "\u001b[K";
const eraseBelow = "\u001b[J";

/** With `--watch` on a terminal it overwrites the last output, cut to the size of the terminal. */
const printTables = async (lines: readonly string[], isWatched: boolean): Promise<void> => {
  if (!isWatched) return printResult(lines.join("\n"));
  if (!isTerminal(1)) return printResult([...lines, ""].join("\n"));
  const { rows, columns } = process.stdout;
  const shown = lines.slice(0, rows - 1).map((line) => `${line.slice(0, columns)}${eraseToEndOfLine}\n`);
  await writeOut(`${home}${shown.join("")}${eraseBelow}`);
};

/* ── For a person ── */

/**
 * Returns lines for a person, without control characters, because any worker chooses its names.
 * @param events lines on the last events, the newest first
 */
export const describeStatus = (endpoint: string, status: EngineStatus, events: readonly string[] = []): string[] => {
  const { jobs, queue, workers, tasks, resources, safings, sources, data, journal, limits } = status;
  const shownLimits = Object.entries(limits).map(
    ([name, value]) => `${name} ${/bytes/i.test(name) ? bytes(value) : value}`,
  );
  const lines = [
    `engine ${endpoint}: ${status.draining ? "stopping" : "serving"}, ${securityWords[status.security]}`,
    ...warningsIn(status),
    `jobs: ${jobs.accepted} accepted, ${jobs.done} done, ${sum(jobs.failed)} failed, ${jobs.retried} retried; ` +
      `${jobs.waiting} waiting (${bytes(queue.bytes)}), ${jobs.held} with workers`,
    ...(journal === null ? [] : [describeJournal(journal)]),
    ...(events.length === 0 ? [] : ["", ...events]),
    "",
    ...table(
      ["WORKER", "ROLE", "STATE", "HELD", "ENDPOINT"],
      workers.map(({ id, role, state, held, endpoint: own, supervised, language }) => {
        const origin = supervised || role !== "task" ? "" : " (joined from outside)";
        return [id, language === "python" ? `${role} (python)` : role, state, held, `${own || "-"}${origin}`];
      }),
    ),
    "",
    ...table(
      ["TASK", "WORKERS", "WAITING", "COUNT", "P50", "P99"],
      tasks.map(({ name, workers, waiting, count, p50Ms, p99Ms }) => [
        name,
        workers,
        waiting,
        count,
        duration(p50Ms),
        duration(p99Ms),
      ]),
    ),
    ...section(
      ["SOURCE", "TOPIC", "EVERY", "RATE", "JITTER P99", "OVERRUNS", "ERRORS"],
      sources.map(({ name, topic, everyMs, hz, jitterMs, overruns, errors }) => [
        name,
        topic,
        duration(everyMs),
        hz === null ? "-" : `${Number(hz.toPrecision(3))} Hz`,
        duration(jitterMs),
        overruns,
        errors,
      ]),
    ),
    ...section(
      ["DATA WORKER", "TOPICS", "MEMORY", "MISSED", "DROPPED"],
      data.map(({ worker, topics, bytes: kept, missed, dropped }) => [
        worker,
        topics,
        bytes(kept),
        missed,
        sum(dropped),
      ]),
    ),
    ...section(
      ["RESOURCE", "STATE", "HOLDER", "WAITING"],
      resources.map(({ name, holder, waiting }) => {
        if (holder === null) return [name, "free", "-", waiting];
        const { task, serial, state } = holder;
        return [name, holderWords[state], serial === "" ? task : `${task} (${serial})`, waiting];
      }),
    ),
    ...section(
      ["SAFING", "STATE", "TRIES", "AFTER"],
      safings.map(({ task, state, tries, why }) => [task, state, tries, why.code]),
    ),
    "",
    `failed: ${counts(jobs.failed)}`,
    `dropped: ${counts(jobs.dropped)}`,
    `limits: ${shownLimits.join(", ")}`,
  ];
  return lines.map(printable);
};

const describeJournal = (journal: NonNullable<EngineStatus["journal"]>): string => {
  const { bytes: size, total, unfinished, dead, historyBytes, historyBytesMax, historyDropped } = journal;
  const dropped = historyDropped === 0 ? "" : `, ${historyDropped} entries of it left out`;
  return (
    `journal: ${bytes(size)}, ${total} jobs, of which ${unfinished} have not ended and ${dead} are dead letters; ` +
    `history of today ${bytes(historyBytes)} of ${bytes(historyBytesMax)}${dropped}`
  );
};

const securityWords = {
  curve: "with keys",
  none: "without keys, on its own machine alone",
  insecure: "INSECURE: without keys, for everybody who reaches it",
} as const;

const holderWords = { held: "held", safing: "being made safe", unsafe: "NOT SAFE" } as const;

/** Returns the conditions that need a person, each with its remedy. */
const warningsIn = ({ stopped, locks, quarantined, troubles, paused, journal }: EngineStatus): string[] => {
  const lines: string[] = [];
  if (stopped !== null) {
    const { since, reason, durable, why = "the engine does not say why" } = stopped;
    lines.push(`EMERGENCY STOP since ${utc(since)}: ${reason || "no reason given"}; \`task-engine reset\` ends it`);
    if (durable === false) lines.push(`NOT ON DISK: the emergency stop will not outlast this engine: ${why}`);
  }
  for (const { resources, task, since, why, remedy } of locks) {
    const locked = resources.length === 0 ? task : `${resources.join(", ")} by ${task}`;
    lines.push(`LOCKED: ${locked} since ${utc(since)}: ${why}; ${remedy}`);
  }
  for (const { task, since, deaths, how } of quarantined) {
    lines.push(
      `QUARANTINED: ${task} since ${utc(since)}: ${deaths} workers died of its jobs, ` +
        `the last of which ${how}; fix it, then \`task-engine reload\``,
    );
  }
  for (const { process, since, why } of troubles) {
    lines.push(`NOT RUNNING: ${process} since ${utc(since)}: ${why}; it is tried again and again`);
  }
  for (const { task, since } of paused) {
    lines.push(`PAUSED: ${task} since ${utc(since)}; \`task-engine resume ${task}\` ends it`);
  }
  const { failure = null, damaged = null } = journal ?? {};
  if (failure !== null) lines.push(`NOT WRITTEN: the journal takes no durable jobs: ${failure}`);
  if (damaged !== null) lines.push(`DAMAGED: the journal was, and is ${damaged} now; durable jobs in it are lost`);
  return lines;
};

/** `2026-11-28 03:49:51 UTC` @param seconds since 1970 */
const utc = (seconds: number): string => `${new Date(seconds * 1000).toISOString().replace("T", " ").slice(0, 19)} UTC`;

const sum = (numbers: Readonly<Record<string, number>>): number =>
  Object.values(numbers).reduce((total, count) => total + count, 0);

/** `TIMEOUT 3, TASK_ERROR 1`: the most frequent first. */
const counts = (numbers: Readonly<Record<string, number>>): string =>
  Object.entries(numbers)
    .sort(([, a], [, b]) => b - a)
    .map(([name, count]) => `${name} ${count}`)
    .join(", ") || "nothing";

const duration = (ms: number | null): string => {
  if (ms === null) return "-";
  return ms < 10_000 ? `${Number(ms.toPrecision(3))} ms` : `${Number((ms / 1000).toPrecision(3))} s`;
};

const bytes = (count: number): string => {
  if (count < 1024) return `${count} bytes`;
  return count < 1024 ** 2 ? `${Math.round(count / 1024)} KiB` : `${Math.round(count / 1024 ** 2)} MiB`;
};

type Row = readonly (string | number)[];

/** Returns an empty line and a table; nothing if there are no rows. */
const section = (head: readonly string[], rows: readonly Row[]): string[] =>
  rows.length === 0 ? [] : ["", ...table(head, rows)];

/** Formats columns as wide as their widest cell. */
const table = (head: readonly string[], rows: readonly Row[]): string[] => {
  const lines = [head, ...rows].map((row) => row.map(String));
  const widths = head.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  return lines.map((line) =>
    line
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
};
