/** Topics: a list of all of them, and those that are opened as plots, tables and pictures. */
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { age, brief, bytes, hertz, number } from "./format.ts";
import { refreshTopics } from "./live.ts";
import { Card, Failure, Search, State as StateWord } from "./parts.tsx";
import { Picture } from "./picture.tsx";
import { Plot } from "./plot.tsx";
import { type Listing, remember, remembered, type State, useInterval, useStore } from "./store.ts";
import { Text } from "./task-form.tsx";
import { useTopics } from "./topics.ts";
import type { Json, Topic, Value } from "./types.ts";

const readTopics = ({ topics }: State): Listing<Topic> => topics;
const refresh = (): void => void refreshTopics();
const everyMs = 2_000;
const openMax = 12;
const restored = (): string[] => {
  const [, named] = location.hash.split("/", 2);
  if (named !== undefined) return [decodeURIComponent(named)];
  const kept: unknown = JSON.parse(remembered("topics") ?? "[]");
  return Array.isArray(kept) ? kept.filter((topic) => typeof topic === "string").slice(0, openMax) : [];
};

export const TopicsView = (): JSX.Element => {
  const { rows, failure } = useStore(readTopics);
  const [open, setOpen] = useState(restored);
  const [text, setText] = useState("");
  const { values, failure: followFailure } = useTopics(open);
  useInterval(refresh, everyMs);
  useEffect(() => {
    remember("topics", JSON.stringify(open));
  }, [open]);
  const toggle = (topic: string): void =>
    setOpen((before) =>
      before.includes(topic) ? before.filter((it) => it !== topic) : [topic, ...before].slice(0, openMax),
    );
  const isPicture = (topic: string): boolean => typeOf(topic, rows, values.get(topic)?.at(-1)).startsWith("image/");
  const shown = rows.filter(({ topic }) => topic.toLowerCase().includes(text.toLowerCase()));
  return (
    <div class="grid">
      <Card title="Topics" note={`${rows.length}`}>
        <Failure text={failure ?? followFailure} />
        <Search rows={rows.length} text={text} onText={setText} />
        {shown.length === 0 && <p class="empty">No topic has a value.</p>}
        <ul class="topics">
          {shown.map((row) => (
            <li key={row.topic}>
              <label>
                <input type="checkbox" checked={open.includes(row.topic)} onChange={() => toggle(row.topic)} />
                <span class="name">{row.topic}</span>
                {row.stale === true && <StateWord word="stale" />}
                <span class="note">
                  {hertz(row.hz)}, {row.ageMs === null ? "" : `${age(row.ageMs)} ago, `}
                  {bytes(row.bytes)}
                </span>
              </label>
            </li>
          ))}
        </ul>
      </Card>
      {open.map((topic) => (
        <section key={topic} class="card topic">
          <header>
            <h2>{topic}</h2>
            <button type="button" class="plain" aria-label={`Close ${topic}`} onClick={() => toggle(topic)}>
              ✕
            </button>
          </header>
          {isPicture(topic) ? (
            <Picture topic={topic} pack={values.get(topic)?.at(-1)?.pack ?? 0} />
          ) : (
            <Content topic={topic} values={values.get(topic) ?? []} />
          )}
        </section>
      ))}
    </div>
  );
};

const typeOf = (topic: string, rows: readonly Topic[], newest: Value | undefined): string =>
  newest?.contentType ?? rows.find((row) => row.topic === topic)?.contentType ?? "";

const Content = ({ topic, values }: { readonly topic: string; readonly values: readonly Value[] }): JSX.Element => {
  const newest = values.at(-1);
  if (newest === undefined) return <p class="empty">Waiting for a value …</p>;
  const { data, contentType, bytes: size = 0 } = newest;
  if (data === undefined) {
    return (
      <p>
        {bytes(size)} of {contentType ?? "bytes"}:{" "}
        <a href={`/api/data/${encodeURIComponent(topic)}`} download>
          save
        </a>
      </p>
    );
  }
  if (typeof data === "number") return <Plot topic={topic} values={values} />;
  if (typeof data === "object" && data !== null) return <Members value={data} topic={topic} />;
  return typeof data === "string" ? <Text value={data} /> : <p class="value">{brief(data)}</p>;
};

const rowsMax = 50;

/** An object or a list as a table; what is in it as JSON. */
const Members = ({ value, topic }: { readonly value: object; readonly topic: string }): JSX.Element => {
  const members = Object.entries(value as Readonly<Record<string, Json>>);
  return (
    <table class="members">
      <caption class="unseen">Newest value of {topic}</caption>
      <tbody>
        {members.slice(0, rowsMax).map(([name, member]) => (
          <tr key={name}>
            <th scope="row">{name}</th>
            <td>{typeof member === "number" ? number(member) : brief(member)}</td>
          </tr>
        ))}
        {members.length > rowsMax && (
          <tr>
            <th scope="row">…</th>
            <td>{members.length - rowsMax} more</td>
          </tr>
        )}
      </tbody>
    </table>
  );
};
