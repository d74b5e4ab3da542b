/** The engine at this moment: what needs a person first, then workers, resources, queues and sources. */
import type { JSX } from "preact";
import { bytes, duration, hertz, sum, time } from "./format.ts";
import { mayObserve } from "./live.ts";
import { Card, State as StateWord, Table } from "./parts.tsx";
import { type State, useStore } from "./store.ts";
import type { Me, Status } from "./types.ts";

const readStatus = ({ status }: State): Status | null => status;
const readFailure = ({ statusFailure }: State): string | null => statusFailure;
const readMe = ({ me }: State): Me | null => me;

export const NowView = (): JSX.Element => {
  const status = useStore(readStatus);
  const failure = useStore(readFailure);
  const me = useStore(readMe);
  if (status === null) {
    const word = mayObserve(me)
      ? (failure ?? "Waiting for the engine …")
      : "The engine's state needs the right observe.";
    return <p class="empty">{word}</p>;
  }
  return (
    <div class="grid">
      <Warnings status={status} />
      <Figures status={status} />
      <Workers status={status} />
      <Resources status={status} />
      <Queues status={status} />
      <Sources status={status} />
    </div>
  );
};

const Warnings = ({ status: { locks, quarantined, safings, draining, security } }: Props): JSX.Element | null => {
  const lines = [
    ...(draining ? ["The engine is stopping."] : []),
    ...(security === "insecure" ? ["INSECURE: without keys, for everybody who reaches it."] : []),
    ...locks.map(({ resources, task, since, why, remedy }) => {
      const what = resources.length === 0 ? task : `${resources.join(", ")} by ${task}`;
      return `Locked since ${time(since)}: ${what}. ${why}. ${remedy}`;
    }),
    ...quarantined.map(
      ({ task, since, deaths, how }) =>
        `${task} is in quarantine since ${time(since)}: ${deaths} workers died of its jobs; the last ${how}.`,
    ),
    ...safings
      .filter(({ state }) => state === "failed")
      .map(({ task, tries, why }) => `The safe stop of ${task} has failed ${tries} times, after ${why.code}.`),
  ];
  if (lines.length === 0) return null;
  return (
    <section class="card wide warning">
      <h2>Needs a person</h2>
      <ul>
        {lines.map((line) => (
          <li key={line}>{line}</li>
        ))}
      </ul>
    </section>
  );
};

interface Props {
  readonly status: Status;
}

const Figures = ({ status: { jobs, queue } }: Props): JSX.Element => {
  const failed = sum(jobs.failed);
  const figures: readonly (readonly [string, number, string])[] = [
    ["running", jobs.held, "with workers"],
    ["waiting", jobs.waiting, bytes(queue.bytes)],
    ["done", jobs.done, "since the start"],
    ["failed", failed, worst(jobs.failed)],
  ];
  return (
    <section class="card wide figures" aria-label="Jobs">
      {figures.map(([name, value, note]) => (
        <div key={name} class={name === "failed" && value > 0 ? "figure bad" : "figure"}>
          <span class="name">{name}</span>
          <span class="value">{value}</span>
          <span class="note">{note}</span>
        </div>
      ))}
    </section>
  );
};

/** `TIMEOUT 3`: the most frequent code. */
const worst = (failed: Readonly<Record<string, number>>): string => {
  const [first] = Object.entries(failed).sort(([, a], [, b]) => b - a);
  return first === undefined ? "none" : `${first[0]} ${first[1]}`;
};

const Workers = ({ status: { workers } }: Props): JSX.Element => (
  <Card title="Workers">
    <Table
      caption="Workers"
      head={["Worker", "Role", "State", "Jobs"]}
      empty="No worker is there."
      rows={workers.map(({ id, role, state, held, supervised }) => ({
        key: id,
        cells: [
          id,
          supervised || role !== "task" ? role : `${role}, from outside`,
          <StateWord key="state" word={state} />,
          held,
        ],
      }))}
    />
  </Card>
);

const Resources = ({ status: { resources } }: Props): JSX.Element => (
  <Card title="Resources">
    <Table
      caption="Resources"
      head={["Resource", "State", "Held by", "Waiting"]}
      empty="All are free."
      rows={resources.map(({ name, holder, waiting }) => ({
        key: name,
        cells: [name, <StateWord key="state" word={holder?.state ?? "free"} />, holder?.task ?? "–", waiting],
      }))}
    />
  </Card>
);

const Queues = ({ status: { tasks } }: Props): JSX.Element => (
  <Card title="Queues">
    <Table
      caption="Tasks and their queues"
      head={["Task", "Workers", "Waiting", "Runs", "Median", "99 %"]}
      empty="The engine has no tasks."
      rows={tasks.map(({ name, workers, waiting, count, p50Ms, p99Ms }) => ({
        key: name,
        cells: [name, workers, waiting, count, duration(p50Ms), duration(p99Ms)],
      }))}
    />
  </Card>
);

const Sources = ({ status: { sources } }: Props): JSX.Element | null =>
  sources.length === 0 ? null : (
    <Card title="Sources">
      <Table
        caption="Sources"
        head={["Source", "Topic", "Rate", "Jitter", "Left out", "Errors"]}
        empty=""
        rows={sources.map(({ name, topic, hz, jitterMs, overruns, errors }) => ({
          key: name,
          cells: [
            name,
            <a key="topic" href={`#data/${encodeURIComponent(topic)}`}>
              {topic}
            </a>,
            hertz(hz),
            duration(jitterMs),
            overruns,
            errors,
          ],
        }))}
      />
    </Card>
  );
