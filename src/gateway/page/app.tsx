/** The frame: STOP first, the connection, the views. */
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { DriveView } from "./drive.tsx";
import { age } from "./format.ts";
import { JobsView } from "./jobs-view.tsx";
import { LogView } from "./log.tsx";
import { Login, Person } from "./login.tsx";
import { NowView } from "./now.tsx";
import { StopBanner, StopButton } from "./stop.tsx";
import { type State, useStore, type View, views } from "./store.ts";
import { TasksView } from "./tasks.tsx";
import { ThemeButton } from "./theme.tsx";
import { TopicsView } from "./topics-view.tsx";

const names: Readonly<Record<View, string>> = {
  now: "Now",
  tasks: "Tasks",
  jobs: "Jobs",
  data: "Data",
  log: "Log",
  drive: "Drive",
};

const content: Readonly<Record<View, () => JSX.Element>> = {
  now: NowView,
  tasks: TasksView,
  jobs: JobsView,
  data: TopicsView,
  log: LogView,
  drive: DriveView,
};

const readView = ({ view }: State): View => view;
const readNeedsLogin = ({ needsLogin }: State): boolean => needsLogin;

export const App = (): JSX.Element => {
  const view = useStore(readView);
  const needsLogin = useStore(readNeedsLogin);
  const Content = content[view];
  return (
    <>
      <header class="top">
        <StopButton />
        <div class="who">
          <h1>Task Engine</h1>
          <Pulse />
        </div>
        <div class="tools">
          <Person />
          <ThemeButton />
        </div>
        <nav aria-label="Views">
          {views.map((name) => (
            <a key={name} href={`#${name}`} aria-current={name === view ? "page" : undefined}>
              {names[name]}
            </a>
          ))}
        </nav>
        <Connection />
        <StopBanner />
      </header>
      <main>{needsLogin ? <Login /> : <Content key={view} />}</main>
    </>
  );
};

const readLink = ({ link }: State): State["link"] => link;
const readEngine = ({ engine }: State): boolean | null => engine;

/** One word that is always there. */
const Pulse = (): JSX.Element => {
  const link = useStore(readLink);
  const engine = useStore(readEngine);
  const word = link !== "live" ? link : engine === false ? "no engine" : engine === null ? "connecting" : "live";
  return (
    <span class={`pulse ${word === "live" ? "good" : word === "connecting" ? "calm" : "bad"}`} role="status">
      {word}
    </span>
  );
};

const readFailure = ({ linkFailure }: State): string | null => linkFailure;
const readShownAt = ({ shownAtMs }: State): number => shownAtMs;

/** Says that the page may be old, and how old. */
const Connection = (): JSX.Element | null => {
  const link = useStore(readLink);
  const engine = useStore(readEngine);
  const failure = useStore(readFailure);
  const isLost = link === "lost" || engine === false;
  if (!isLost) return null;
  return (
    <div class="lost">
      <p role="alert">
        <strong>{link === "lost" ? "Connection lost." : "The engine does not answer."}</strong>{" "}
        {link === "lost" ? `${failure ?? ""}. Trying again.` : "The gateway tries to reach it."}
      </p>
      <Age />
    </div>
  );
};

const Age = (): JSX.Element => {
  const shownAtMs = useStore(readShownAt);
  const [nowMs, setNowMs] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNowMs(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  return (
    <p class="age" role="timer">
      What you see is {age(nowMs - shownAtMs)} old.
    </p>
  );
};
