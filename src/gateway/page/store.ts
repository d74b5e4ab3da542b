/**
 * All that the page knows, in one place: it changes only by `update`, and components read it by
 * `useStore`.
 */
import { useEffect, useState } from "preact/hooks";
import type { Job, LogLine, Me, Schedule, Status, Stop, Task, Topic } from "./types.ts";

export const views = ["now", "tasks", "jobs", "data", "log", "drive"] as const;
export type View = (typeof views)[number];

/** A list that the engine serves, or why it does not. */
export interface Listing<T> {
  readonly rows: readonly T[];
  /** null where it was had, or was not asked for yet */
  readonly failure: string | null;
}

export interface State {
  readonly view: View;
  readonly theme: "auto" | "light" | "dark";
  /** The colours that this theme comes to now. */
  readonly isDark: boolean;
  /** The connection to the gateway. */
  readonly link: "connecting" | "live" | "lost";
  /** Why it is lost, in a line. */
  readonly linkFailure: string | null;
  /** Whether the gateway reaches the engine; null before it has said so. */
  readonly engine: boolean | null;
  /** When the gateway was heard last, in ms of Date.now(). */
  readonly heardAtMs: number;
  /** When it said last how the engine is. */
  readonly shownAtMs: number;
  readonly me: Me | null;
  readonly needsLogin: boolean;
  readonly status: Status | null;
  readonly statusFailure: string | null;
  readonly stopped: Stop | null;
  readonly tasks: Listing<Task>;
  readonly topics: Listing<Topic>;
  readonly jobs: ReadonlyMap<string, Job>;
  /** Why there is no list of earlier jobs. */
  readonly jobsFailure: string | null;
  readonly schedules: Listing<Schedule>;
  readonly log: readonly LogLine[];
  /** Lines and events that did not reach this page. */
  readonly missed: number;
}

const nothing = { rows: [], failure: null };

let state: State = {
  view: "now",
  theme: "auto",
  isDark: false,
  link: "connecting",
  linkFailure: null,
  engine: null,
  heardAtMs: Date.now(),
  shownAtMs: Date.now(),
  me: null,
  needsLogin: false,
  status: null,
  statusFailure: null,
  stopped: null,
  tasks: nothing,
  topics: nothing,
  jobs: new Map(),
  jobsFailure: null,
  schedules: nothing,
  log: [],
  missed: 0,
};

const listeners = new Set<() => void>();
let isAnnounced = false;

export const current = (): State => state;

/** Components that read what has changed are drawn anew, once for all changes of one moment. */
export const update = (change: Partial<State>): void => {
  state = { ...state, ...change };
  if (isAnnounced) return;
  isAnnounced = true;
  queueMicrotask(() => {
    isAnnounced = false;
    for (const listener of listeners) listener();
  });
};

/** One part of the state. @param read gives the same object as long as nothing of it has changed */
export const useStore = <T>(read: (state: State) => T): T => {
  const [part, setPart] = useState(() => read(state));
  useEffect(() => {
    const listener = (): void => setPart(() => read(state));
    listener();
    listeners.add(listener);
    return () => {
      listeners.delete(listener);
    };
  }, [read]);
  return part;
};

/** Asks to be called so often while the component is shown. */
export const useInterval = (run: () => void, everyMs: number): void => {
  useEffect(() => {
    run();
    const timer = setInterval(() => document.hidden || run(), everyMs);
    return () => clearInterval(timer);
  }, [run, everyMs]);
};

/** Reads a value that the browser has kept; where it keeps nothing, the page works without. */
export const remembered = (key: string): string | null => {
  try {
    return localStorage.getItem(`task-engine.${key}`);
  } catch {
    return null;
  }
};

/** False where it keeps nothing, as in a private window that is full. */
export const remember = (key: string, value: string): boolean => {
  try {
    localStorage.setItem(`task-engine.${key}`, value);
    return true;
  } catch {
    return false;
  }
};
