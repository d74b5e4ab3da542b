/** What the engine says of itself, as a person wants to read it. */
import type { EngineStatus } from "../client/client.ts";
import { printable } from "../process/streams.ts";

/** Lines, without what a terminal would obey: names come from workers anywhere. */
export const describeStatus = (endpoint: string, status: EngineStatus): string[] => {
  const { jobs, queue, workers, tasks, resources, safings, limits } = status;
  const lines = [
    `engine ${endpoint}: ${status.draining ? "stopping" : "serving"}, ${securityWords[status.security]}`,
    ...describeStop(status.stopped),
    ...status.locks.map(describeLock),
    ...status.quarantined.map(describeQuarantined),
    `jobs: ${jobs.accepted} accepted, ${jobs.done} done, ${sum(jobs.failed)} failed, ${jobs.retried} retried; ` +
      `${jobs.waiting} waiting (${bytes(queue.bytes)}), ${jobs.held} with workers`,
    "",
    ...table(
      ["WORKER", "ROLE", "STATE", "HELD", "ENDPOINT"],
      workers.map(({ id, role, state, held, endpoint: own, supervised }) => [
        id,
        role,
        state,
        String(held),
        `${own || "-"}${supervised || role === "data" ? "" : " (joined from outside)"}`,
      ]),
    ),
    "",
    ...table(
      ["TASK", "WORKERS", "WAITING", "COUNT", "P50", "P99"],
      tasks.map((task) => [
        task.name,
        String(task.workers),
        String(task.waiting),
        String(task.count),
        duration(task.p50Ms),
        duration(task.p99Ms),
      ]),
    ),
    ...section(
      ["RESOURCE", "STATE", "HOLDER", "WAITING"],
      resources.map(({ name, holder, waiting }) => [
        name,
        holder === null ? "free" : holderWords[holder.state],
        holder === null ? "-" : `${holder.task}${holder.serial === "" ? "" : ` (${holder.serial})`}`,
        String(waiting),
      ]),
    ),
    ...section(
      ["SAFING", "STATE", "TRIES", "AFTER"],
      safings.map(({ task, state, tries, why }) => [task, state, String(tries), why.code]),
    ),
    "",
    `failed: ${counts(jobs.failed)}`,
    `dropped: ${counts(jobs.dropped)}`,
    `limits: ${Object.entries(limits)
      .map(([name, value]) => `${name} ${/bytes/i.test(name) ? bytes(value) : value}`)
      .join(", ")}`,
  ];
  return lines.map(printable);
};

const securityWords = {
  curve: "with keys",
  none: "without keys, on its own machine alone",
  insecure: "INSECURE: without keys, for everybody who reaches it",
} as const;

const holderWords = { held: "held", safing: "being made safe", unsafe: "NOT SAFE" } as const;

/** What nobody may overlook, and what to do about it. */
const describeStop = (stopped: EngineStatus["stopped"]): string[] => {
  if (stopped === null) return [];
  const { since, reason, durable, why = "the engine does not say why" } = stopped;
  const lines = [`EMERGENCY STOP since ${utc(since)}: ${reason || "no reason given"}; \`task-engine reset\` ends it`];
  if (durable === false) lines.push(`NOT ON DISK: the emergency stop will not outlast this engine: ${why}`);
  return lines;
};

const describeLock = ({ resources, task, since, why, remedy }: EngineStatus["locks"][number]): string =>
  `LOCKED: ${resources.length === 0 ? task : `${resources.join(", ")} by ${task}`} since ${utc(since)}: ${why}; ${remedy}`;

const describeQuarantined = ({ task, since, deaths, how }: EngineStatus["quarantined"][number]): string =>
  `QUARANTINED: ${task} since ${utc(since)}: ${deaths} workers died of its jobs, the last of which ${how}; mend it, then \`task-engine reload\``;

/** `2026-11-28 03:49:51 UTC` @param seconds since 1970 */
const utc = (seconds: number): string => `${new Date(seconds * 1000).toISOString().replace("T", " ").slice(0, 19)} UTC`;

const sum = (numbers: Readonly<Record<string, number>>): number =>
  Object.values(numbers).reduce((total, count) => total + count, 0);

/** `TIMEOUT 3, TASK_ERROR 1`, the most frequent first. */
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

/** A table after an empty line; nothing at all where there are no rows. */
const section = (head: readonly string[], rows: readonly (readonly string[])[]): string[] =>
  rows.length === 0 ? [] : ["", ...table(head, rows)];

/** Columns as wide as their widest cell. */
const table = (head: readonly string[], rows: readonly (readonly string[])[]): string[] => {
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)));
  return [head, ...rows].map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
};
