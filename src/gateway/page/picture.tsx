/**
 * The newest picture of a topic. It is fetched anew when the topic has another, one at a time, so a
 * slow network gets fewer of them and no old ones. (Chromium shows a part of MJPEG only once the next
 * one begins, and each such stream takes one of a browser's six connections, which STOP may need.)
 */
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { askForResult, lineOf, pathOf } from "./api.ts";
import { Failure } from "./parts.tsx";

/** @param pack of the topic's newest value */
export const Picture = ({ topic, pack }: { readonly topic: string; readonly pack: number }): JSX.Element => {
  const [url, setUrl] = useState<string | null>(null);
  const [failure, setFailure] = useState<string | null>(null);
  const wanted = useRef(pack);
  const isLoading = useRef(false);
  wanted.current = pack;

  const load = async (): Promise<void> => {
    if (isLoading.current) return;
    isLoading.current = true;
    try {
      for (let had = Number.NaN; had !== wanted.current; ) {
        had = wanted.current;
        const result = await askForResult("GET", pathOf(["data", topic]));
        if ("blob" in result) setUrl(URL.createObjectURL(result.blob));
        setFailure(null);
      }
    } catch (error) {
      setFailure(lineOf(error));
    }
    isLoading.current = false;
  };

  // A new value is the reason to load.
  useEffect(() => {
    void load();
  }, [topic, pack]);
  useEffect(() => () => (url === null ? undefined : URL.revokeObjectURL(url)), [url]);

  return (
    <>
      {url !== null && <img class="stream" src={url} alt={`${topic}, as it comes`} />}
      {url === null && failure === null && <p class="empty">Waiting for a picture …</p>}
      <Failure text={failure} />
    </>
  );
};
