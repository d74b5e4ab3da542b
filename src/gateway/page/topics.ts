/** Follows the topics that are shown, by one stream of events for all of them. */
import { useEffect, useState } from "preact/hooks";
import { ApiError, ask, lineOf, pathOf } from "./api.ts";
import { type State, useStore } from "./store.ts";
import type { Json, Value } from "./types.ts";

/** One minute of the gateway's 20 values a second. */
const valuesMax = 1_200;
const historyMs = 60_000;
const retryMs = 2_000;
/** ms between two redraws: a person sees no more, and a phone draws no more. */
const drawEveryMs = 100;

export type Values = ReadonlyMap<string, readonly Value[]>;

const readIsLive = ({ link, engine }: State): boolean => link === "live" && engine === true;

export const useTopics = (topics: readonly string[]): { readonly values: Values; readonly failure: string | null } => {
  const [values, setValues] = useState<Values>(new Map());
  const [failure, setFailure] = useState<string | null>(null);
  const isLive = useStore(readIsLive);
  const wanted = [...topics].sort().join("\n");
  useEffect(() => {
    if (wanted === "" || !isLive) return;
    const kept = new Map<string, Value[]>();
    let timer: ReturnType<typeof setTimeout> | null = null;
    const draw = (): void => {
      timer ??= setTimeout(() => {
        timer = null;
        setValues(new Map([...kept].map(([topic, list]) => [topic, [...list]])));
      }, drawEveryMs);
    };
    const add = (topic: string, added: readonly Value[]): void => {
      const list = [...(kept.get(topic) ?? []), ...added].sort((a, b) => a.pack - b.pack);
      kept.set(topic, list.slice(-valuesMax));
      draw();
    };
    const names = wanted.split("\n");
    for (const topic of names) {
      void historyOf(topic).then(
        (past) => add(topic, past),
        (error: unknown) => isUnknown(error) || setFailure(lineOf(error)),
      );
    }
    const close = follow(names, (value) => add(value.topic, [value]), setFailure);
    return () => {
      close();
      if (timer !== null) clearTimeout(timer);
    };
  }, [wanted, isLive]);
  return { values, failure };
};

/** Fetches the values that a plot begins with. Throws ApiError. */
const historyOf = async (topic: string): Promise<Value[]> => {
  const path = `${pathOf(["data", topic])}/history?lastMs=${historyMs}&limit=${valuesMax}`;
  const { values } = await ask<{ values: { data?: Json; pack: number }[] }>("GET", path);
  return values.flatMap(({ data, pack }) => (typeof data === "number" ? [{ topic, data, pack }] : []));
};

/** A topic without a value may still get one. */
const isUnknown = (error: unknown): boolean => error instanceof ApiError && error.code === "UNKNOWN_TOPIC";

const follow = (
  topics: readonly string[],
  take: (value: Value) => void,
  tell: (failure: string | null) => void,
): (() => void) => {
  let source: EventSource | null = null;
  let timer: ReturnType<typeof setTimeout> | null = null;
  const query = topics.map((topic) => `topic=${encodeURIComponent(topic)}`).join("&");
  const again = (): void => {
    source?.close();
    timer = setTimeout(open, retryMs);
  };
  const open = (): void => {
    source = new EventSource(`/api/events?${query}`);
    source.addEventListener("message", (event: MessageEvent<string>) => {
      tell(null);
      take(JSON.parse(event.data));
    });
    source.addEventListener("failed", (event: MessageEvent<string>) => {
      const { code, message } = JSON.parse(event.data);
      tell(`${code}: ${message}`);
      again();
    });
    source.addEventListener("error", again);
  };
  open();
  return () => {
    source?.close();
    if (timer !== null) clearTimeout(timer);
  };
};
