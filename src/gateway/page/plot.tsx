/** A number over the last minute. */
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { number } from "./format.ts";
import { type State, useStore } from "./store.ts";
import type { Value } from "./types.ts";

const heightPx = 180;

const readIsDark = ({ isDark }: State): boolean => isDark;

export const Plot = ({ topic, values }: { readonly topic: string; readonly values: readonly Value[] }): JSX.Element => {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const isDark = useStore(readIsDark);
  const newest = values.at(-1)?.data;

  useEffect(() => {
    const element = place.current;
    if (element === null) return;
    const made = new uPlot(options(element), [[], []], element);
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: heightPx }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [isDark]);

  useEffect(() => {
    const numbers = values.filter(({ data }) => typeof data === "number");
    plot.current?.setData([numbers.map(({ pack }) => pack), numbers.map(({ data }) => data as number)]);
  }, [values, isDark]);

  return (
    <>
      <p class="value">{typeof newest === "number" ? number(newest) : "–"}</p>
      <div ref={place} class="plot" role="img" aria-label={`Plot of ${topic} over the last minute`} />
    </>
  );
};

/** `15:04:05` @param seconds since 1970 */
const clock = (seconds: number): string => new Date(seconds * 1000).toLocaleTimeString([], { hour12: false });

const options = (element: HTMLElement): uPlot.Options => {
  const style = getComputedStyle(element);
  const colour = (name: string): string => style.getPropertyValue(name).trim();
  const axis: uPlot.Axis = {
    stroke: colour("--text"),
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { stroke: colour("--line"), width: 1 },
    font: "12px system-ui, sans-serif",
  };
  return {
    width: element.clientWidth,
    height: heightPx,
    legend: { show: false },
    cursor: { show: false },
    series: [{}, { stroke: colour("--accent"), width: 2, points: { show: false } }],
    axes: [
      { ...axis, space: 80, values: (_, seconds) => seconds.map(clock) },
      { ...axis, size: 52 },
    ],
    scales: { x: { time: true } },
  };
};
