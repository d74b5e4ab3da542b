/**
 * A form's fields, of the JSON Schemas of a task's arguments, and what a person has put into them.
 */

import { valueFrom } from "./typed.ts";
import type { Json, Schema } from "./types.ts";

export interface Field {
  /** `args[0]` or `kwargs.speed`. */
  readonly key: string;
  readonly label: string;
  readonly help: string;
  readonly kind: "number" | "boolean" | "text" | "choice" | "json";
  readonly isRequired: boolean;
  readonly isInteger: boolean;
  readonly min: number | null;
  readonly max: number | null;
  /** The values of a field of kind `choice`. */
  readonly choices: readonly Json[];
  /** The text that the field begins with. */
  readonly initial: string;
  readonly place: number | string;
}

type Schemas = { readonly args?: Schema; readonly kwargs?: Schema };

/** Null where the schemas say too little for fields: then the arguments are typed as one line. */
export const fieldsOf = (schemas: Schemas | null | undefined): Field[] | null => {
  if (schemas?.args === undefined && schemas?.kwargs === undefined) return null;
  const args = argsFields(schemas.args);
  const kwargs = kwargsFields(schemas.kwargs);
  return args === null || kwargs === null ? null : [...args, ...kwargs];
};

const argsFields = (schema: Schema | undefined): Field[] | null => {
  if (schema === undefined) return [];
  const items = listOf(schema.prefixItems);
  // A list of any length has no fixed places.
  if (items.length === 0 && isObject(schema.items)) return null;
  const required = numberOf(schema.minItems) ?? items.length;
  return items.map((item, index) => fieldOf(item, index, `argument ${index + 1}`, index < required));
};

const kwargsFields = (schema: Schema | undefined): Field[] | null => {
  if (schema === undefined) return [];
  if (!isObject(schema.properties)) return isObject(schema.additionalProperties) ? null : [];
  const required = listOf(schema.required);
  return Object.entries(schema.properties).map(([name, property]) =>
    fieldOf(property, name, name, required.includes(name)),
  );
};

const fieldOf = (given: Json, place: number | string, name: string, isRequired: boolean): Field => {
  const schema = isObject(given) ? given : {};
  const choices = choicesOf(schema);
  const types = listOf(Array.isArray(schema.type) ? schema.type : [schema.type ?? null]);
  const type = types.length === 1 ? types[0] : undefined;
  const isNumber = type === "number" || type === "integer";
  return {
    key: typeof place === "number" ? `args[${place}]` : `kwargs.${place}`,
    label: typeof schema.title === "string" ? schema.title : name,
    help: typeof schema.description === "string" ? schema.description : "",
    kind:
      choices.length > 0
        ? "choice"
        : isNumber
          ? "number"
          : type === "boolean"
            ? "boolean"
            : type === "string"
              ? "text"
              : "json",
    isRequired: isRequired && schema.default === undefined,
    isInteger: type === "integer",
    min: numberOf(schema.minimum) ?? numberOf(schema.exclusiveMinimum),
    max: numberOf(schema.maximum) ?? numberOf(schema.exclusiveMaximum),
    choices,
    initial: initialOf(schema.default, choices),
    place,
  };
};

const initialOf = (value: Json | undefined, choices: readonly Json[]): string => {
  if (value === undefined) return "";
  if (choices.length === 0) return textOf(value);
  const index = choices.findIndex((choice) => JSON.stringify(choice) === JSON.stringify(value));
  return index < 0 ? "" : `${index}`;
};

/** `enum`, or `anyOf` and `oneOf` of nothing but constants. */
const choicesOf = (schema: Schema): Json[] => {
  if (Array.isArray(schema.enum)) return [...schema.enum];
  const options = listOf(schema.anyOf ?? schema.oneOf);
  const constants = options.flatMap((option) => (isObject(option) && option.const !== undefined ? [option.const] : []));
  return constants.length === options.length ? constants : [];
};

interface Filled {
  readonly args: Json[];
  readonly kwargs: { [key: string]: Json };
  /** Mistakes by field; empty if the rest can be sent. */
  readonly mistakes: ReadonlyMap<string, string>;
}

/** @param texts by field, what its input holds; a choice holds the index */
export const fill = (fields: readonly Field[], texts: Readonly<Record<string, string>>): Filled => {
  const args: Json[] = [];
  const kwargs: { [key: string]: Json } = {};
  const mistakes = new Map<string, string>();
  let isGap = false;
  for (const field of fields) {
    const text = texts[field.key] ?? field.initial;
    const isEmpty = text.trim() === "" && !(field.kind === "text" && field.isRequired && text !== "");
    if (isEmpty) {
      if (field.isRequired) mistakes.set(field.key, "is needed");
      if (typeof field.place === "number") isGap = true;
      continue;
    }
    if (typeof field.place === "number" && isGap) mistakes.set(field.key, "needs the argument before it");
    const value = parse(field, text);
    if ("mistake" in value) mistakes.set(field.key, value.mistake);
    else if (typeof field.place === "number") args.push(value.value);
    else kwargs[field.place] = value.value;
  }
  return { args, kwargs, mistakes };
};

const parse = (field: Field, text: string): { readonly value: Json } | { readonly mistake: string } => {
  const { kind, min, max } = field;
  if (kind === "text") return { value: text };
  if (kind === "boolean") return { value: text === "true" };
  if (kind === "choice") return { value: field.choices[Number(text)] ?? null };
  if (kind === "number") {
    const value = Number(text.replace(",", "."));
    if (!Number.isFinite(value)) return { mistake: "is no number" };
    if (field.isInteger && !Number.isInteger(value)) return { mistake: "is no whole number" };
    if (min !== null && value < min) return { mistake: `is less than ${min}` };
    if (max !== null && value > max) return { mistake: `is more than ${max}` };
    return { value };
  }
  try {
    return { value: valueFrom(text) };
  } catch (error) {
    return { mistake: error instanceof Error ? error.message : String(error) };
  }
};

const isObject = (value: Json | undefined): value is Schema =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const listOf = (value: Json | undefined): readonly Json[] => (Array.isArray(value) ? value : []);

const numberOf = (value: Json | undefined): number | null => (typeof value === "number" ? value : null);

const textOf = (value: Json): string => (typeof value === "string" ? value : JSON.stringify(value));
