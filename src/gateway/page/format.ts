/** Numbers, times and values as a person reads them. */
import type { Json } from "./types.ts";

export const duration = (ms: number | null | undefined): string => {
  if (ms === null || ms === undefined) return "–";
  if (ms < 10_000) return `${Number(ms.toPrecision(3))} ms`;
  if (ms < 600_000) return `${Number((ms / 1000).toPrecision(3))} s`;
  return ms < 36_000_000 ? `${Math.round(ms / 60_000)} min` : `${Math.round(ms / 3_600_000)} h`;
};

/** An age or a distance in whole seconds and larger: `0 s`, `12 s`, `5 min`. */
export const age = (ms: number): string => {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3_600)} h` : `${Math.round(seconds / 86_400)} days`;
};

export const bytes = (count: number): string => {
  if (count < 1024) return `${count} B`;
  return count < 1024 ** 2 ? `${Math.round(count / 1024)} KiB` : `${(count / 1024 ** 2).toFixed(1)} MiB`;
};

export const hertz = (hz: number | null): string => (hz === null ? "–" : `${Number(hz.toPrecision(3))} Hz`);

/** @param seconds since 1970; today's times without a date */
export const time = (seconds: number | null | undefined): string => {
  if (seconds === null || seconds === undefined) return "–";
  const at = new Date(seconds * 1000);
  const clock = at.toLocaleTimeString([], { hour12: false });
  return at.toDateString() === new Date().toDateString() ? clock : `${at.toLocaleDateString()} ${clock}`;
};

/** JSON on one line, cut to `length` characters. */
export const brief = (value: Json | undefined, length = 200): string => {
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? "");
  return text.length > length ? `${text.slice(0, length)}…` : text;
};

export const number = (value: number): string =>
  Number.isInteger(value) ? `${value}` : `${Number(value.toPrecision(5))}`;

export const sum = (counts: Readonly<Record<string, number>>): number =>
  Object.values(counts).reduce((total, count) => total + count, 0);
