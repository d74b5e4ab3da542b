/** Finds the sources among a module's exports, and checks their names and definitions. */
import * as v from "valibot";
import { durationMsMax, nameLengthMax, sourceEveryMsMax, sourceEveryMsMin } from "../limits.ts";
import { StartError } from "../transport/start-error.ts";
import { checkDefinition, checkName, hasRun, isFunction } from "./definition.ts";
import type { RegisteredSource } from "./task.ts";

export const sourcePrefix = "source_";

/**
 * Yields the sources among the exports of `file`, each with the name of its export.
 * @throws StartError, which names the export, for one that is meant as a source and is none
 */
export function* sourcesOf(module: object, file: string): Generator<[exportName: string, source: RegisteredSource]> {
  for (const [exportName, value] of Object.entries(module)) {
    if (!exportName.startsWith(sourcePrefix)) continue;
    const name = exportName.slice(sourcePrefix.length);
    checkName(name, exportName, sourcePrefix, file);
    if (!hasRun(value)) {
      throw new StartError(`${file}: ${exportName} is not an object with \`run\`; rename it if it is no source`);
    }
    const definition = checkDefinition(definitionSchema, value);
    if (typeof definition === "string") throw new StartError(`${file}: ${exportName} ${definition}`);
    const { everyMs, staleMs = everyMs } = definition;
    if (staleMs < everyMs) {
      const why = `must be at least everyMs, ${everyMs}: else the topic is stale between two runs`;
      throw new StartError(`${file}: ${exportName} has a wrong staleMs: ${why}`);
    }
    // Bound, so that a `run` written as a method finds its own object in `this`.
    yield [exportName, { name, file, ...definition, run: definition.run.bind(value) }];
  }
}

const durationMs = (least: number, most: number) => {
  const rule = `must be a number of ms, ${least} to ${most}`;
  return v.pipe(v.number(rule), v.minValue(least, rule), v.maxValue(most, rule));
};

const topicRule = `must be 1 to ${nameLengthMax} characters that do not begin with $`;
const isTopic = (topic: unknown): boolean =>
  typeof topic === "string" && topic !== "" && topic.length <= nameLengthMax && !topic.startsWith("$");

const definitionSchema = v.strictObject({
  everyMs: durationMs(sourceEveryMsMin, sourceEveryMsMax),
  topic: v.custom<string>(isTopic, topicRule),
  staleMs: v.optional(durationMs(sourceEveryMsMin, durationMsMax)),
  run: v.custom<RegisteredSource["run"]>(isFunction, "must be a function"),
});
