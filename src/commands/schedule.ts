/**
 * `schedule list` shows the tasks that the engine runs by itself, `schedule pause NAME` and
 * `schedule resume NAME` stop and start the runs of one, and `schedule run NAME` runs it now.
 *
 * Sends CONTROL `schedules` or `schedule`. `list` prints a line for each, or with `--json` a
 * line of JSON; the others print what is true now. A pause survives a
 * restart of the engine.
 *
 * Exits with 0; 1 if the engine refused (an unknown schedule, an emergency stop), or could not put
 * a pause or its end on its disk; 2 for wrong
 * usage; 3 if there is no engine or no answer in time.
 */
import type { ScheduleListing } from "../client/client.ts";
import { printable } from "../process/streams.ts";
import { defineCommand } from "./command.ts";
import { engineArgs, withEngine } from "./engine.ts";
import { printDone, printKept, printResult } from "./output.ts";
import { nameFrom } from "./values.ts";

const listCommand = defineCommand({
  meta: { name: "list", description: "Show the schedules, their next and last runs" },
  args: { ...engineArgs, json: { type: "boolean", description: "Print a line of JSON for each schedule" } },
  run: async ({ args }) => {
    const schedules = await withEngine(args, (engine) => engine.schedules());
    for (const it of schedules) await printResult(args.json ? JSON.stringify(it) : printable(lineOf(it)));
  },
});

/**
 * `photo  @hourly  next 2026-11-28 16:00:00  last 2026-11-28 15:00:00 done  1 skipped  its last run
 * has not ended`
 */
const lineOf = ({ name, task, when, zone, next, last, code, skipped, why, paused }: ScheduleListing): string =>
  [
    name === task ? name : `${name} (${task})`,
    zone === null ? when : `${when} (${zone})`,
    paused ? "paused" : `next ${timeText(next)}`,
    `last ${timeText(last)}${last === null ? "" : ` ${code ?? "running"}`}`,
    ...(skipped === 0 ? [] : [`${skipped} skipped`]),
    ...(why === null ? [] : [why]),
  ].join("  ");

/** @param seconds since 1970; null for none */
const timeText = (seconds: number | null): string =>
  seconds === null ? "-" : new Date(seconds * 1000).toLocaleString("sv-SE");

const nameArg = { type: "positional", required: true, description: "Name of the schedule" } as const;

const pauseCommand = defineCommand({
  meta: { name: "pause", description: "Leave out the runs of a schedule until it is resumed" },
  args: { name: nameArg, ...engineArgs },
  run: async ({ args }) => {
    const name = nameFrom(args.name, "NAME");
    const { failure } = await withEngine(args, (engine) => engine.schedule(name, "pause"));
    await printKept(`paused: task-engine schedule resume ${name} ends it`, failure);
  },
});

const resumeCommand = defineCommand({
  meta: { name: "resume", description: "End the pause of a schedule" },
  args: { name: nameArg, ...engineArgs },
  run: async ({ args }) => {
    const name = nameFrom(args.name, "NAME");
    const { next, failure } = await withEngine(args, (engine) => engine.schedule(name, "resume"));
    await printKept(`resumed: next at ${timeText(next)}`, failure);
  },
});

const runCommand = defineCommand({
  meta: { name: "run", description: "Run a schedule's task now" },
  args: { name: nameArg, ...engineArgs },
  run: async ({ args }) => {
    const { task } = await withEngine(args, (engine) => engine.schedule(nameFrom(args.name, "NAME"), "run"));
    await printDone(`started: task-engine jobs --task ${task} shows it`);
  },
});

export const scheduleCommand = defineCommand({
  meta: { name: "schedule", description: "Show, pause and run the tasks that run by themselves" },
  subCommands: { list: listCommand, pause: pauseCommand, resume: resumeCommand, run: runCommand },
});
