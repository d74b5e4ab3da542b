/** The view that drives: a task, how a stick becomes its arguments, and the stick. */
import type { JSX } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import { lineOf } from "./api.ts";
import { DriveControl, type DriveState } from "./drive-control.ts";
import { neutral, type Stick, wordsOf } from "./drive-input.ts";
import { Joystick } from "./joystick.tsx";
import { refreshTasks } from "./live.ts";
import { Card, Failure } from "./parts.tsx";
import { type Listing, remember, remembered, type State, useInterval, useStore } from "./store.ts";
import { type Arguments, argumentsFrom } from "./typed.ts";
import type { Task } from "./types.ts";

const readTasks = ({ tasks }: State): Listing<Task> => tasks;
const refresh = (): void => void refreshTasks();
const everyMs = 10_000;

/** The arguments that most robots take. */
const usual = ["forward turn", "left right", "forward=forward turn=turn", "forward 60"];

interface Settings {
  readonly task: string;
  /** Words of `wordsOf`, and constants. */
  readonly typed: string;
  readonly deadmanMs: number;
  readonly percent: number;
}

const restored = (): Settings => {
  const kept: Partial<Settings> = JSON.parse(remembered("drive") ?? "{}");
  const [, named] = location.hash.split("/", 2);
  return {
    task: named === undefined ? (kept.task ?? "") : decodeURIComponent(named),
    typed: kept.typed ?? "forward turn",
    deadmanMs: kept.deadmanMs ?? 300,
    percent: kept.percent ?? 50,
  };
};

export const DriveView = (): JSX.Element => {
  const tasks = useStore(readTasks).rows;
  const [settings, setSettings] = useState(restored);
  const [state, setState] = useState<DriveState>({ phase: "off", stick: neutral, why: null });
  const [mistake, setMistake] = useState<string | null>(null);
  const control = useMemo(() => new DriveControl(setState), []);
  useEffect(() => control.listen(), [control]);
  useInterval(refresh, everyMs);
  useEffect(() => {
    remember("drive", JSON.stringify(settings));
  }, [settings]);
  const isOff = state.phase === "off";

  const begin = (): void => {
    const { task, typed, deadmanMs, percent } = settings;
    const argumentsOf = (stick: Stick): Arguments => argumentsFrom(typed, wordsOf(stick, percent / 100));
    try {
      argumentsOf(neutral);
      setMistake(null);
      control.begin({ task, deadmanMs, argumentsOf });
    } catch (error) {
      setMistake(lineOf(error));
    }
  };

  return (
    <div class="drive-view">
      <Card title="Drive" note={isOff ? undefined : settings.task}>
        <Joystick stick={state.stick} isOn={state.phase === "on"} onMove={(stick) => control.touch(stick)} />
        <p class="numbers" aria-hidden="true">
          forward {shown(state.stick.forward)} · turn {shown(state.stick.turn)}
        </p>
        {isOff ? (
          <button type="button" class="accent large" disabled={settings.task === ""} onClick={begin}>
            Drive
          </button>
        ) : (
          <button type="button" class="large" onClick={() => control.letGo("you let go")}>
            Let go
          </button>
        )}
        <p role="status" class="phase">
          {state.phase === "on" && "Driving. Stick, arrow keys, W A S D, or a gamepad."}
          {state.phase === "starting" && "Starting …"}
          {isOff && state.why !== null && `Neutral: ${state.why}.`}
          {isOff && state.why === null && (settings.task === "" ? "Choose a task first." : "Neutral.")}
        </p>
        <Failure text={mistake} />
      </Card>
      <SettingsForm
        settings={settings}
        tasks={tasks}
        isOff={isOff}
        set={(change) => setSettings({ ...settings, ...change })}
      />
    </div>
  );
};

const shown = (value: number): string => `${value < 0 ? "−" : " "}${Math.abs(value).toFixed(2)}`;

const SettingsForm = (props: {
  readonly settings: Settings;
  readonly tasks: readonly Task[];
  readonly isOff: boolean;
  readonly set: (change: Partial<Settings>) => void;
}): JSX.Element => {
  const { settings, tasks, isOff, set } = props;
  const names = [...new Set([...tasks.map(({ name }) => name), settings.task])].filter((name) => name !== "");
  return (
    <Card title="How">
      <fieldset class="form" disabled={!isOff}>
        <legend class="unseen">How to drive</legend>
        <label>
          Task
          <select value={settings.task} onChange={(event) => set({ task: event.currentTarget.value })}>
            <option value="">choose …</option>
            {names.map((name) => (
              <option key={name} value={name}>
                {name}
              </option>
            ))}
          </select>
        </label>
        <label>
          Arguments
          <input
            value={settings.typed}
            list="usual"
            autocapitalize="off"
            autocomplete="off"
            spellcheck={false}
            onInput={(event) => set({ typed: event.currentTarget.value })}
          />
          <small>
            <code>forward</code>, <code>turn</code>, <code>left</code> and <code>right</code> stand for the stick; the
            rest is passed on: <code>forward 60</code>, <code>speed=forward</code>.
          </small>
        </label>
        <datalist id="usual">
          {usual.map((typed) => (
            <option key={typed} value={typed} />
          ))}
        </datalist>
        <label>
          Full stick: {settings.percent} %
          <input
            type="range"
            min={10}
            max={100}
            step={5}
            value={settings.percent}
            onInput={(event) => set({ percent: event.currentTarget.valueAsNumber })}
          />
        </label>
        <label>
          Dead man, ms
          <input
            type="number"
            min={100}
            max={10000}
            step={50}
            value={settings.deadmanMs}
            onInput={(event) => set({ deadmanMs: event.currentTarget.valueAsNumber || 300 })}
          />
          <small>The robot stops when this page is silent for so long.</small>
        </label>
      </fieldset>
    </Card>
  );
};
