/** The engine's log, as it comes. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { time } from "./format.ts";
import { mayObserve } from "./live.ts";
import { Card } from "./parts.tsx";
import { type State, useStore } from "./store.ts";
import type { LogLine, Me } from "./types.ts";

const readLog = ({ log }: State): readonly LogLine[] => log;
const readMissed = ({ missed }: State): number => missed;
const readMe = ({ me }: State): Me | null => me;

const levels: Readonly<Record<string, readonly string[]>> = {
  all: ["info", "warn", "error"],
  warnings: ["warn", "error"],
  errors: ["error"],
};

export const LogView = (): JSX.Element => {
  const lines = useStore(readLog);
  const missed = useStore(readMissed);
  const me = useStore(readMe);
  const [level, setLevel] = useState("all");
  const [text, setText] = useState("");
  const [held, setHeld] = useState<readonly LogLine[] | null>(null);
  const shown = (held ?? lines).filter(
    (line) => levels[level]?.includes(line.level) && line.text.toLowerCase().includes(text.toLowerCase()),
  );
  return (
    <Card title="Log" note={missed > 0 ? `${missed} events did not reach this page` : undefined}>
      <div class="row">
        <label>
          Show
          <select value={level} onChange={(event) => setLevel(event.currentTarget.value)}>
            <option value="all">all lines</option>
            <option value="warnings">warnings and errors</option>
            <option value="errors">errors</option>
          </select>
        </label>
        <label>
          With
          <input type="search" value={text} onInput={(event) => setText(event.currentTarget.value)} />
        </label>
        <button type="button" aria-pressed={held !== null} onClick={() => setHeld(held === null ? lines : null)}>
          {held === null ? "Hold" : "Follow"}
        </button>
      </div>
      {shown.length === 0 ? (
        <p class="empty">
          {mayObserve(me) ? "No line yet: lines are shown as they come." : "The log needs the right observe."}
        </p>
      ) : (
        <ol class="log" aria-label="Log lines, the newest first">
          {[...shown].reverse().map((line, index) => (
            <li key={`${line.at} ${shown.length - index}`} class={line.level}>
              <time>{time(line.at)}</time> {line.level !== "info" && <strong>{line.level}</strong>}{" "}
              <span class="note">{line.process ?? line.task}</span> <span class="text">{line.text}</span>
            </li>
          ))}
        </ol>
      )}
    </Card>
  );
};
