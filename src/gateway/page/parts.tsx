/** Small pieces that several views are made of. */
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { lineOf } from "./api.ts";

export const Card = (props: {
  readonly title: string;
  readonly note?: ComponentChildren;
  readonly children: ComponentChildren;
}): JSX.Element => (
  <section class="card">
    <header>
      <h2>{props.title}</h2>
      {props.note !== undefined && <span class="note">{props.note}</span>}
    </header>
    {props.children}
  </section>
);

/** Rows on the phone are blocks: `labels` name their cells there. */
export const Table = (props: {
  readonly caption: string;
  readonly head: readonly string[];
  readonly rows: readonly { readonly key: string; readonly cells: readonly ComponentChildren[] }[];
  readonly empty: string;
}): JSX.Element => {
  if (props.rows.length === 0) return <p class="empty">{props.empty}</p>;
  return (
    <table>
      <caption class="unseen">{props.caption}</caption>
      <thead>
        <tr>
          {props.head.map((name) => (
            <th key={name} scope="col">
              {name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {props.rows.map(({ key, cells }) => (
          <tr key={key}>
            {cells.map((cell, index) => (
              <td key={props.head[index]} data-label={props.head[index]}>
                {cell}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
};

/** A word of state, in a colour that says the same. */
export const State = ({ word }: { readonly word: string }): JSX.Element => (
  <span class={`state ${tones[word] ?? "calm"}`}>{word.replaceAll("_", " ")}</span>
);

const tones: Readonly<Record<string, string>> = {
  busy: "on",
  running: "on",
  held: "on",
  dispatched: "on",
  done: "good",
  safe: "good",
  idle: "calm",
  queued: "calm",
  delayed: "calm",
  paused: "warn",
  stale: "warn",
  safing: "warn",
  leaving: "warn",
  retrying: "warn",
  waiting: "warn",
  cancelled: "warn",
  superseded: "calm",
  stuck: "bad",
  lost: "bad",
  killed: "bad",
  unsafe: "bad",
  failed: "bad",
  timed_out: "bad",
  deadman: "bad",
  stopped: "bad",
  interrupted: "bad",
  quarantined: "bad",
};

export const Failure = ({ text }: { readonly text: string | null }): JSX.Element | null =>
  text === null ? null : (
    <p class="failure" role="alert">
      {text}
    </p>
  );

/** Why a list is not there, in calm: an engine need not serve everything. */
/** Rows of a list from which it has a search. */
const searchFrom = 8;

/** A field by which a long list is narrowed; nothing for a short one. */
export const Search = (props: {
  readonly rows: number;
  readonly text: string;
  readonly onText: (text: string) => void;
}): JSX.Element | null =>
  props.rows <= searchFrom ? null : (
    <div class="row">
      <label>
        Search
        <input type="search" value={props.text} onInput={(event) => props.onText(event.currentTarget.value)} />
      </label>
    </div>
  );

export const NotServed = ({ why, what }: { readonly why: string; readonly what: string }): JSX.Element => (
  <p class="empty">{why.startsWith("UNKNOWN_COMMAND") ? `This engine has no ${what}.` : why}</p>
);

/**
 * A button that shows that its work goes on, and why it failed. With `confirm` it asks first, in
 * place: no dialog may cover STOP.
 */
export const Action = (props: {
  readonly label: string;
  readonly run: () => Promise<unknown>;
  readonly confirm?: string;
  readonly name?: string;
  readonly class?: string;
}): JSX.Element => {
  const [state, setState] = useState<"ready" | "asking" | "working">("ready");
  const [failure, setFailure] = useState<string | null>(null);
  const keep = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    if (state === "asking") keep.current?.focus();
  }, [state]);
  const run = async (): Promise<void> => {
    setState("working");
    setFailure(null);
    try {
      await props.run();
    } catch (error) {
      setFailure(lineOf(error));
    }
    setState("ready");
  };
  if (state === "asking") {
    return (
      // biome-ignore lint/a11y/useSemanticElements: a fieldset has a legend, and this is a question within a sentence
      <span class="ask" role="group" aria-label={props.confirm}>
        <span>{props.confirm}</span>
        <button type="button" class={props.class} onClick={() => void run()}>
          {props.label}
        </button>
        <button type="button" ref={keep} onClick={() => setState("ready")}>
          Leave it
        </button>
      </span>
    );
  }
  return (
    <>
      <button
        type="button"
        class={props.class}
        disabled={state === "working"}
        aria-label={props.name}
        onClick={() => (props.confirm === undefined ? void run() : setState("asking"))}
      >
        {state === "working" ? `${props.label} …` : props.label}
      </button>
      <Failure text={failure} />
    </>
  );
};
