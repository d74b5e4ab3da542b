/** Suggestions for mistyped names. */

/** Typing errors that a name of this length may have. */
const slipsMax = (length: number): number => Math.floor(length / 3);

/** Longer names take long to compare. */
const lengthMax = 64;
const namesMax = 4096;

/** The name with the fewest typing errors, or with the given beginning; null if none is near. */
export const nearest = (given: string, names: readonly string[]): string | null => {
  const typed = bare(given);
  if (typed === "" || typed.length > lengthMax) return null;
  let best: string | null = null;
  let fewest = slipsMax(typed.length) + 1;
  for (const name of names.slice(0, namesMax)) {
    if (Math.abs(name.length - typed.length) > lengthMax) continue;
    const slips = slipsBetween(typed, bare(name));
    if (slips < fewest) [best, fewest] = [name, slips];
  }
  return best ?? names.find((name) => typed.length > 1 && bare(name).startsWith(typed)) ?? null;
};

/** A suffix for a message about an unknown name; empty if no name is near. */
export const didYouMean = (given: string, names: Iterable<string>): string => {
  const name = nearest(given, [...names]);
  return name === null ? "" : ` (did you mean ${name}?)`;
};

/** Ignores capitals, leading dashes, and `_` instead of `-`. */
const bare = (name: string): string => name.toLowerCase().replaceAll(/^-+/g, "").replaceAll("_", "-");

/** The optimal string alignment distance: insert, delete, replace, swap neighbours. */
const slipsBetween = (a: string, b: string): number => {
  let before: number[] = [];
  let above = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const isSame = a[row - 1] === b[column - 1];
      let slips = Math.min(
        (above[column] ?? 0) + 1,
        (current[column - 1] ?? 0) + 1,
        (above[column - 1] ?? 0) + Number(!isSame),
      );
      const isSwapped = row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      if (isSwapped) slips = Math.min(slips, (before[column - 2] ?? 0) + 1);
      current.push(slips);
    }
    [before, above] = [above, current];
  }
  return above[b.length] ?? 0;
};
