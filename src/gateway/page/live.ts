/**
 * Keeps the store up to date: the gateway's events as they come, and a look at `status` now and
 * then.
 */
import { ApiError, ask, lineOf, pathOf } from "./api.ts";
import { onJobEvent, refreshJobs } from "./jobs.ts";
import { current, update } from "./store.ts";
import type { Json, LogLine, Me, Schedule, Status, Stop, Task, Topic } from "./types.ts";

/** ms. A gateway beats each 5 s; after this silence the connection counts as lost. */
const silenceMs = 12_000;
/** ms between two looks at `status` while nothing happens. */
const statusEveryMs = 2_000;
/** ms. Events come in crowds; one look at `status` is enough for all of them. */
const statusPauseMs = 300;
const retryMs = 1_000;
const logLinesMax = 500;

const engineTopics = ["jobs", "workers", "stop", "log", "resources"].map((name) => `$engine/${name}`);

let events: EventSource | null = null;
let retryTimer: ReturnType<typeof setTimeout> | null = null;
let statusTimer: ReturnType<typeof setTimeout> | null = null;

/** Connects, and again whenever the connection is lost. */
export const goLive = async (): Promise<void> => {
  close();
  try {
    const me = await ask<Me>("GET", pathOf(["me"]));
    const needsLogin = me.tokens && me.name === null;
    update({ me, needsLogin });
    if (!needsLogin) follow(me);
  } catch (error) {
    if (error instanceof ApiError && error.code === "NO_TOKEN") update({ needsLogin: true, link: "live" });
    else lost(lineOf(error));
  }
};

const close = (): void => {
  events?.close();
  events = null;
  if (retryTimer !== null) clearTimeout(retryTimer);
  retryTimer = null;
};

const lost = (why: string): void => {
  close();
  update({ link: "lost", linkFailure: why });
  retryTimer = setTimeout(() => void goLive(), retryMs);
};

/** A browser that was asleep, or without a network, need not wait for the next try. */
const retryNow = (): void => {
  if (current().link !== "live") void goLive();
};

export const mayObserve = (me: Me | null): boolean =>
  me === null || me.rights === null || me.rights.some((right) => right === "observe" || right.startsWith("read:$"));

const follow = (me: Me): void => {
  const topics = mayObserve(me) ? engineTopics : [];
  const query = topics.map((topic) => `topic=${encodeURIComponent(topic)}`).join("&");
  const source = new EventSource(`/api/events?${query}`);
  events = source;
  const on = (name: string, handle: (data: never) => void): void => {
    source.addEventListener(name, (event: MessageEvent<string>) => {
      if (events !== source) return;
      heard();
      handle(JSON.parse(event.data) as never);
    });
  };
  on("engine", ({ connected }: { connected: boolean }) => {
    update({ engine: connected });
    if (connected) refreshAll();
  });
  on("message", ({ topic, data }: { topic: string; data: Json }) => onEngineEvent(topic, data as Record<string, Json>));
  on("dropped", ({ count }: { count: number }) => {
    update({ missed: current().missed + count });
    refreshAll();
  });
  on("failed", ({ code, message }: { code: string; message: string }) => lost(`${code}: ${message}`));
  on("beat", () => {
    // A person who may not look at the engine sees nothing that could be older than this.
    if (current().engine === true && !mayObserve(current().me)) update({ shownAtMs: Date.now() });
  });
  source.addEventListener("error", () => {
    if (events === source) lost("the gateway does not answer");
  });
};

const heard = (): void => {
  update({ link: "live", linkFailure: null, heardAtMs: Date.now() });
};

const onEngineEvent = (topic: string, data: Record<string, Json>): void => {
  update({ shownAtMs: Date.now() });
  if (topic === "$engine/jobs") onJobEvent(data);
  else if (topic === "$engine/log") addLine(data as unknown as LogLine);
  else if (topic === "$engine/stop") update({ stopped: stopIn(data) });
  if (topic !== "$engine/log") refreshStatusSoon();
};

const stopIn = ({ stopped, durable, why }: Record<string, Json>): Stop | null =>
  typeof stopped !== "object" || stopped === null ? null : ({ ...stopped, durable, why } as unknown as Stop);

let newLines: LogLine[] = [];

/** Lines come in crowds, too. */
const addLine = (line: LogLine): void => {
  if (newLines.push(line) > 1) return;
  setTimeout(() => {
    update({ log: [...current().log, ...newLines].slice(-logLinesMax) });
    newLines = [];
  }, 100);
};

const refreshStatusSoon = (): void => {
  if (statusTimer !== null) return;
  statusTimer = setTimeout(() => {
    statusTimer = null;
    void refreshStatus();
  }, statusPauseMs);
};

const refreshStatus = async (): Promise<void> => {
  try {
    const status = await ask<Status>("GET", pathOf(["status"]));
    update({ status, stopped: status.stopped, statusFailure: null, shownAtMs: Date.now() });
  } catch (error) {
    update({ statusFailure: lineOf(error) });
  }
};

export const refreshTasks = async (): Promise<void> => {
  const failure = (error: unknown) => update({ tasks: { ...current().tasks, failure: lineOf(error) } });
  await ask<{ tasks: Task[] }>("GET", pathOf(["tasks"])).then(
    ({ tasks }) => update({ tasks: { rows: tasks, failure: null } }),
    failure,
  );
};

export const refreshTopics = async (): Promise<void> => {
  const failure = (error: unknown) => update({ topics: { ...current().topics, failure: lineOf(error) } });
  await ask<{ topics: Topic[] }>("GET", pathOf(["data"])).then(
    ({ topics }) => update({ topics: { rows: topics, failure: null } }),
    failure,
  );
};

export const refreshSchedules = async (): Promise<void> => {
  const failure = (error: unknown) => update({ schedules: { ...current().schedules, failure: lineOf(error) } });
  await ask<{ schedules: Schedule[] }>("GET", pathOf(["schedules"])).then(
    ({ schedules }) => update({ schedules: { rows: schedules, failure: null } }),
    failure,
  );
};

/** Lines from before this page was opened, where the engine keeps them. */
const loadLog = async (): Promise<void> => {
  if (current().log.length > 0) return;
  const earlier = await ask<{ lines: LogLine[] }>("GET", pathOf(["logs"])).catch(() => null);
  if (earlier === null) return;
  const lines = [...earlier.lines].sort((one, other) => one.at - other.at);
  update({ log: [...lines, ...current().log].slice(-logLinesMax) });
};

const refreshAll = (): void => {
  void refreshStatus();
  void loadLog();
  void refreshTasks();
  void refreshJobs();
};

/**
 * Looks after the connection itself: `EventSource` waits for ever for a peer that is gone without a
 * word.
 */
export const watchOver = (): void => {
  setInterval(() => {
    const { link, heardAtMs } = current();
    if (link === "live" && events !== null && Date.now() - heardAtMs > silenceMs) lost("nothing was heard for 12 s");
  }, 1_000);
  setInterval(() => {
    const { link, engine } = current();
    if (link === "live" && engine === true && !document.hidden) void refreshStatus();
  }, statusEveryMs);
  addEventListener("online", retryNow);
  document.addEventListener("visibilitychange", () => document.hidden || retryNow());
};
