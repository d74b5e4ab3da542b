/** Jobs that run or wait, those that are over, and schedules. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { ask, askForResult, lineOf, pathOf, type Result } from "./api.ts";
import { brief, duration, time } from "./format.ts";
import { isOver, refreshJobs } from "./jobs.ts";
import { refreshSchedules } from "./live.ts";
import { Action, Card, Failure, NotServed, State as StateWord, Table } from "./parts.tsx";
import { type Listing, type State, useInterval, useStore } from "./store.ts";
import { Bytes, Text } from "./task-form.tsx";
import type { Job, Json, LogLine, Schedule } from "./types.ts";

const readJobs = ({ jobs }: State): ReadonlyMap<string, Job> => jobs;
const readFailure = ({ jobsFailure }: State): string | null => jobsFailure;
const readSchedules = ({ schedules }: State): Listing<Schedule> => schedules;
const refreshList = (): void => void refreshSchedules();
const everyMs = 5_000;
const shownMax = 100;

export const JobsView = (): JSX.Element => {
  const jobs = [...useStore(readJobs).values()].reverse();
  const failure = useStore(readFailure);
  const over = jobs.filter(isOver).sort((a, b) => (b.ended ?? 0) - (a.ended ?? 0));
  return (
    <div class="grid">
      <Card title="Now">
        <Running jobs={jobs.filter((job) => !isOver(job))} />
      </Card>
      <Schedules />
      <Card title="History" note={failure === null ? undefined : "since this page was opened"}>
        {over.length === 0 && <p class="empty">No job has ended yet.</p>}
        <ul class="folds">
          {over.slice(0, shownMax).map((job) => (
            <li key={job.job}>
              <Past job={job} />
            </li>
          ))}
        </ul>
      </Card>
    </div>
  );
};

const Running = ({ jobs }: { readonly jobs: readonly Job[] }): JSX.Element => {
  if (jobs.length === 0) return <p class="empty">No job runs.</p>;
  return (
    <ul class="jobs">
      {jobs.slice(0, shownMax).map((job) => (
        <li key={job.job}>
          <div class="line">
            <span class="name">{job.task}</span>
            <StateWord word={job.state} />
            <span class="note">
              {job.state === "running" ? `since ${time(job.started)}` : `at ${time(job.accepted)}`}
            </span>
          </div>
          <Progress value={job.progress} task={job.task} />
          <Action
            label="Cancel"
            name={`Cancel ${job.task}`}
            run={() => ask("POST", pathOf(["jobs", job.job, "cancel"]), { body: {} })}
          />
        </li>
      ))}
    </ul>
  );
};

/** A share from 0 to 1 as a bar; anything else as a person has written it. */
const Progress = ({ value, task }: { readonly value: Json | undefined; readonly task: string }): JSX.Element | null => {
  if (value === undefined || value === null) return null;
  if (typeof value !== "number" || value < 0 || value > 1) return <p class="note">{brief(value)}</p>;
  return (
    <div class="progress">
      <progress max={1} value={value} aria-label={`Progress of ${task}`} />
      <span>{Math.round(value * 100)} %</span>
    </div>
  );
};

const Past = ({ job }: { readonly job: Job }): JSX.Element => {
  const [isOpen, setOpen] = useState(false);
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        <span class="name">{job.task}</span>
        <StateWord word={job.state} />
        <span class="note">
          {time(job.ended)}
          {typeof job.ms === "number" && `, ${duration(job.ms)}`}
        </span>
      </summary>
      {isOpen && <Details job={job} />}
    </details>
  );
};

const Details = ({ job }: { readonly job: Job }): JSX.Element => (
  <div class="form">
    {job.code !== null && job.code !== undefined && <p>{[job.code, job.message].filter(Boolean).join(": ")}</p>}
    <p class="note">
      Job <code>{job.job}</code>
      {job.requestor && `, asked for by ${job.requestor}`}
      {job.worker && `, run by ${job.worker}`}
    </p>
    <div class="row">
      <Action
        label="Run again"
        confirm={`Run ${job.task} again? It may move the robot.`}
        run={() => ask("POST", pathOf(["jobs", job.job, "retry"]), { body: { confirm: true } }).then(refreshJobs)}
      />
      <Later label="Result" load={() => askForResult("GET", pathOf(["jobs", job.job, "result"]))} show={showResult} />
      <Later
        label="Log"
        load={() => ask<{ lines: LogLine[] }>("GET", pathOf(["jobs", job.job, "logs"]))}
        show={showLines}
      />
    </div>
  </div>
);

const showResult = (result: Result): JSX.Element =>
  "blob" in result ? <Bytes blob={result.blob} /> : <Text value={result.data} />;

const showLines = ({ lines }: { readonly lines: readonly LogLine[] }): JSX.Element =>
  lines.length === 0 ? <p class="empty">It has written nothing.</p> : <Text value={lines.map(lineText).join("\n")} />;

const lineText = ({ at, level, text }: LogLine): string => `${time(at)} ${level === "info" ? "" : `${level} `}${text}`;

/** Something that is fetched only when somebody asks for it. */
const Later = <T,>(props: {
  readonly label: string;
  readonly load: () => Promise<T>;
  readonly show: (value: T) => JSX.Element;
}): JSX.Element => {
  const [value, setValue] = useState<{ readonly it: T } | null>(null);
  const [failure, setFailure] = useState<string | null>(null);
  const load = (): void => {
    setFailure(null);
    void props.load().then(
      (it) => setValue({ it }),
      (error: unknown) => setFailure(lineOf(error)),
    );
  };
  return (
    <>
      <button type="button" onClick={load}>
        {props.label}
      </button>
      {value !== null && <div class="later">{props.show(value.it)}</div>}
      <Failure text={failure} />
    </>
  );
};

const Schedules = (): JSX.Element => {
  const { rows, failure } = useStore(readSchedules);
  useInterval(refreshList, everyMs);
  return (
    <Card title="Schedules">
      {failure !== null && <NotServed why={failure} what="schedules" />}
      {failure === null && (
        <Table
          caption="Schedules"
          head={["Schedule", "When", "Next", "Last", ""]}
          empty="There are none."
          rows={rows.map((schedule) => ({
            key: schedule.name,
            cells: [
              schedule.name === schedule.task ? schedule.name : `${schedule.name} (${schedule.task})`,
              [schedule.when, schedule.zone].filter(Boolean).join(" "),
              isPaused(schedule) ? <StateWord key="state" word="paused" /> : time(schedule.next),
              schedule.last === null ? "–" : `${time(schedule.last)} ${schedule.code ?? ""}`,
              <ScheduleActions key="actions" schedule={schedule} />,
            ],
          }))}
        />
      )}
    </Card>
  );
};

const isPaused = ({ paused }: Schedule): boolean => paused !== null && paused !== false;

const ScheduleActions = ({ schedule }: { readonly schedule: Schedule }): JSX.Element => {
  const act = (action: string) => (): Promise<unknown> =>
    ask("POST", pathOf(["schedules", schedule.name]), { body: { action } }).then(refreshSchedules);
  const [label, action] = isPaused(schedule) ? ["Resume", "resume"] : ["Pause", "pause"];
  return (
    <div class="row">
      <Action label={label} name={`${label} ${schedule.name}`} run={act(action)} />
      <Action label="Run" name={`Run ${schedule.name}`} confirm={`Run ${schedule.task} now?`} run={act("run")} />
    </div>
  );
};
