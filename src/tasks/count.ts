import type { TaskFunction } from "./task.ts";

/** Adds numbers. It refuses keyword arguments, since ignoring one would give a wrong sum. */
export const task_count: TaskFunction = (args, kwargs) => {
  const [keyword] = Object.keys(kwargs);
  if (keyword !== undefined)
    throw new TypeError(`count takes no keyword arguments, and got ${JSON.stringify(keyword)}`);
  let sum = 0;
  for (const [index, value] of args.entries()) {
    if (typeof value !== "number") {
      const text = JSON.stringify(value);
      const shown = text.length > 60 ? `${text.slice(0, 59)}…` : text;
      throw new TypeError(`count adds numbers, and argument ${index + 1} is ${shown}`);
    }
    sum += value;
  }
  return sum;
};
