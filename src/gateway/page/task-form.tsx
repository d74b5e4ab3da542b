/** The form of one task: its arguments, its run, its result. */
import type { JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { askForResult, lineOf, pathOf, type Result } from "./api.ts";
import { brief, duration } from "./format.ts";
import { Failure } from "./parts.tsx";
import { type Field, fieldsOf, fill } from "./schema.ts";
import { type Arguments, argumentsFrom } from "./typed.ts";
import type { Json, Task } from "./types.ts";

/** ms that a form waits for a result: longer jobs are followed in Jobs. */
const waitMs = 600_000;

type Run =
  | { readonly state: "running"; readonly abort: AbortController }
  | { readonly state: "done"; readonly result: Result; readonly ms: number }
  | { readonly state: "failed"; readonly failure: string };

export const TaskForm = ({ task }: { readonly task: Task }): JSX.Element => {
  const fields = useMemo(() => fieldsOf(task.schema), [task.schema]);
  const [texts, setTexts] = useState<Readonly<Record<string, string>>>({});
  const [mistakes, setMistakes] = useState<ReadonlyMap<string, string>>(new Map());
  const [run, setRun] = useState<Run | null>(null);
  const running = useRef<AbortController | null>(null);
  // As any client that goes away: its job is cancelled.
  useEffect(() => () => running.current?.abort(), []);
  const set = (key: string, text: string): void => setTexts((before) => ({ ...before, [key]: text }));

  const read = (): Arguments | null => {
    const { args, kwargs, mistakes: found } = fields === null ? typed(texts.line ?? "") : fill(fields, texts);
    setMistakes(found);
    return found.size > 0 ? null : { args, kwargs };
  };
  const start = async (): Promise<void> => {
    const given = read();
    if (given === null) return;
    const abort = new AbortController();
    running.current = abort;
    setRun({ state: "running", abort });
    const startedMs = performance.now();
    try {
      const result = await askForResult("POST", pathOf(["tasks", task.name]), {
        body: { args: given.args, kwargs: given.kwargs, options: { waitMs } },
        timeoutMs: waitMs + 5_000,
        signal: abort.signal,
      });
      setRun({ state: "done", result, ms: performance.now() - startedMs });
    } catch (error) {
      setRun({ state: "failed", failure: lineOf(error) });
    }
    running.current = null;
  };

  if (typeof task.deadmanMs === "number") {
    return (
      <p class="form">
        It ends when nobody holds on to it ({duration(task.deadmanMs)}):{" "}
        <a href={`#drive/${encodeURIComponent(task.name)}`}>drive it</a>.
      </p>
    );
  }
  return (
    <form
      class="form"
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        void start();
      }}
    >
      {fields === null ? (
        <Line task={task} text={texts.line ?? ""} mistake={mistakes.get("line")} set={(text) => set("line", text)} />
      ) : (
        fields.map((field) => (
          <Input
            key={field.key}
            field={field}
            id={`${task.name} ${field.key}`}
            text={texts[field.key] ?? field.initial}
            mistake={mistakes.get(field.key)}
            set={(text) => set(field.key, text)}
          />
        ))
      )}
      <div class="row">
        <button type="submit" class="accent" disabled={run?.state === "running"} aria-label={`Run ${task.name}`}>
          {run?.state === "running" ? "Running …" : "Run"}
        </button>
        {run?.state === "running" && (
          <button type="button" onClick={() => run.abort.abort()} aria-label={`Cancel ${task.name}`}>
            Cancel
          </button>
        )}
      </div>
      <div role="status" class="outcome">
        {run?.state === "done" && <Outcome result={run.result} ms={run.ms} />}
      </div>
      <Failure text={run?.state === "failed" ? run.failure : null} />
    </form>
  );
};

const typed = (text: string): Arguments & { readonly mistakes: ReadonlyMap<string, string> } => {
  try {
    return { ...argumentsFrom(text), mistakes: new Map() };
  } catch (error) {
    return { args: [], kwargs: {}, mistakes: new Map([["line", lineOf(error)]]) };
  }
};

const Line = (props: {
  readonly task: Task;
  readonly text: string;
  readonly mistake: string | undefined;
  readonly set: (text: string) => void;
}): JSX.Element => (
  <label>
    Arguments
    <input
      value={props.text}
      autocapitalize="off"
      autocomplete="off"
      spellcheck={false}
      aria-invalid={props.mistake !== undefined}
      onInput={(event) => props.set(event.currentTarget.value)}
    />
    <small>
      As in <code>task-engine send {props.task.name} 2 "a text" speed=0.5</code>: values, with spaces between them.
    </small>
    {props.mistake !== undefined && <small class="mistake">{props.mistake}</small>}
  </label>
);

const Input = (props: {
  readonly field: Field;
  readonly id: string;
  readonly text: string;
  readonly mistake: string | undefined;
  readonly set: (text: string) => void;
}): JSX.Element => {
  const { field, text, mistake, set } = props;
  const common = { id: props.id, "aria-invalid": mistake !== undefined, "aria-required": field.isRequired };
  return (
    <label htmlFor={props.id} class={field.kind === "boolean" ? "check" : undefined}>
      <span>
        {field.label}
        {!field.isRequired && <span class="note"> (optional)</span>}
      </span>
      {field.kind === "choice" || field.kind === "boolean" ? (
        <select {...common} value={text} onChange={(event) => set(event.currentTarget.value)}>
          <option value="">–</option>
          {(field.kind === "boolean" ? [true, false] : field.choices).map((choice, index) => (
            <option key={brief(choice)} value={field.kind === "boolean" ? `${choice}` : `${index}`}>
              {brief(choice)}
            </option>
          ))}
        </select>
      ) : (
        <input
          {...common}
          type="text"
          inputMode={field.kind === "number" ? "decimal" : "text"}
          autocomplete="off"
          value={text}
          onInput={(event) => set(event.currentTarget.value)}
        />
      )}
      <Hint field={field} />
      {mistake !== undefined && <small class="mistake">{mistake}</small>}
    </label>
  );
};

const Hint = ({ field: { help, min, max, kind, isInteger } }: { readonly field: Field }): JSX.Element | null => {
  const range =
    min !== null && max !== null
      ? `${min} to ${max}`
      : min !== null
        ? `at least ${min}`
        : max !== null
          ? `at most ${max}`
          : "";
  const type = isInteger
    ? "a whole number"
    : kind === "number" && range === ""
      ? "a number"
      : kind === "json"
        ? "JSON"
        : "";
  const words = [help, [type, range].filter((word) => word !== "").join(", ")].filter((word) => word !== "");
  return words.length === 0 ? null : <small>{words.join(". ")}</small>;
};

const Outcome = ({ result, ms }: { readonly result: Result; readonly ms: number }): JSX.Element => (
  <>
    <p class="note">Done in {duration(ms)}.</p>
    {"blob" in result ? <Bytes blob={result.blob} /> : <Text value={result.data} />}
  </>
);

export const Text = ({ value }: { readonly value: Json }): JSX.Element => (
  // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be within reach of the keyboard
  <pre tabIndex={0}>{typeof value === "string" ? value : JSON.stringify(value, null, 2)}</pre>
);

export const Bytes = ({ blob }: { readonly blob: Blob }): JSX.Element => {
  const [url, setUrl] = useState("");
  useEffect(() => {
    const made = URL.createObjectURL(blob);
    setUrl(made);
    return () => URL.revokeObjectURL(made);
  }, [blob]);
  if (url === "") return <p class="note">…</p>;
  return blob.type.startsWith("image/") ? (
    <img src={url} alt="The result" />
  ) : (
    <a href={url} download="result">
      Save {blob.size} bytes ({blob.type})
    </a>
  );
};
