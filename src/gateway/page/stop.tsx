/** The STOP button, and the emergency stop that is in force. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { ask, lineOf, pathOf } from "./api.ts";
import { time } from "./format.ts";
import { Action, Failure } from "./parts.tsx";
import { current, update, useStore } from "./store.ts";
import type { Stop } from "./types.ts";

/** ms. The engine answers when the stop is on its disk, 2 s at most. */
const answerMs = 4_000;
/** ms between two tries, while it is not confirmed. */
const pauseMs = 500;
const triesMax = 20;
/** ms. A reset waits for all that the stop has begun. */
const resetMs = 35_000;

/** Listeners that hear of a STOP at once, before any answer. */
export const stopListeners = new Set<() => void>();

type Sending = { readonly tries: number; readonly failure: string | null } | null;

export const StopButton = (): JSX.Element => {
  const [sending, setSending] = useState<Sending>(null);
  const press = async (): Promise<void> => {
    for (const listener of stopListeners) listener();
    if (sending !== null && sending.tries < triesMax) return;
    for (let tries = 1; ; tries++) {
      setSending((before) => ({ tries, failure: before?.failure ?? null }));
      try {
        update({ stopped: await stop() });
        return setSending(null);
      } catch (error) {
        setSending({ tries, failure: lineOf(error) });
        if (tries === triesMax) return;
      }
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  };
  return (
    <div class="stop">
      <button type="button" class="stop-button" onClick={() => void press()}>
        STOP
      </button>
      {sending?.failure != null && (
        <p class="stop-failure" role="alert">
          {sending.tries < triesMax ? `STOP is not confirmed; try ${sending.tries + 1} …` : "STOP was NOT confirmed."}{" "}
          Use the switch on the robot. ({sending.failure})
        </p>
      )}
    </div>
  );
};

const stop = async (): Promise<Stop> => {
  const { stopped, durable, why } = await ask<{ stopped: Stop; durable: boolean; why?: string }>(
    "POST",
    pathOf(["estop"]),
    { body: { reason: "STOP button of the page" }, timeoutMs: answerMs },
  );
  return { ...stopped, durable, why: why ?? null };
};

const readStopped = ({ stopped }: { readonly stopped: Stop | null }): Stop | null => stopped;

/** Shows the person who stopped, the time and the reason, and offers the reset. */
export const StopBanner = (): JSX.Element | null => {
  const stopped = useStore(readStopped);
  if (stopped === null) return null;
  return (
    <section class="stopped" role="alert" aria-label="Emergency stop">
      <p>
        <strong>Stopped since {time(stopped.since)}</strong>
        <br />
        {stopped.reason === "" ? "No reason was given." : stopped.reason}
      </p>
      {stopped.durable === false && (
        <Failure
          text={`NOT ON DISK: it will not outlast this engine: ${stopped.why ?? "the engine does not say why"}`}
        />
      )}
      <Action
        label="Reset"
        confirm="Is everybody clear of the robot, and is what stopped it mended?"
        run={async () => {
          const since = stopped.since;
          await ask("POST", pathOf(["reset"]), { body: {}, timeoutMs: resetMs });
          if (current().stopped?.since === since) update({ stopped: null });
        }}
      />
    </section>
  );
};
