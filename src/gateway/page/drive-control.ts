/**
 * Driving: from `begin` until `letGo`, positions of the stick become calls of the task. It lets go
 * by itself when nobody may be there: at blur, in a hidden tab, when the pad or the connection is
 * lost or stuck. It never begins again by itself.
 */
import {
  FrozenPad,
  isDriveKey,
  isNeutral,
  isSame,
  neutral,
  type Stick,
  stickOfKeys,
  stickOfPad,
} from "./drive-input.ts";
import { DriveLink, type DriveSettings } from "./drive-link.ts";
import { stopListeners } from "./stop.tsx";
import type { Arguments } from "./typed.ts";

/** ms between two calls. Each takes the place of the one before. */
const callEveryMs = 40;

export interface DriveState {
  readonly phase: "off" | "starting" | "on";
  readonly stick: Stick;
  /** Why it is off. */
  readonly why: string | null;
}

interface DriveOptions extends DriveSettings {
  readonly argumentsOf: (stick: Stick) => Arguments;
}

export class DriveControl {
  #state: DriveState = { phase: "off", stick: neutral, why: null };
  #link: DriveLink | null = null;
  #options: DriveOptions | null = null;
  #touch: Stick = neutral;
  readonly #keys = new Set<string>();
  #pad = new FrozenPad();
  /** The pad whose stick is deflected. */
  #padIndex: number | null = null;
  /** A stick that is deflected when driving begins must come back first. */
  #isArmed = false;
  /** The position that the running call was made with; neutral where none runs. */
  #called: Stick = neutral;
  #calledAtMs = 0;
  #frame = 0;

  constructor(readonly onChange: (state: DriveState) => void) {}

  /** Listens until the function that it returns is called. */
  listen(): () => void {
    const ending = new AbortController();
    const { signal } = ending;
    const letGo = (why: string) => () => this.letGo(why);
    addEventListener("blur", letGo("this window has lost the focus"), { signal });
    addEventListener("pagehide", letGo("the page was left"), { signal });
    document.addEventListener("visibilitychange", () => document.hidden && this.letGo("the tab is hidden"), { signal });
    document.addEventListener("freeze", letGo("the tab was frozen"), { signal });
    addEventListener(
      "gamepaddisconnected",
      (event) => event.gamepad.index === this.#padIndex && this.letGo("the gamepad is gone"),
      { signal },
    );
    addEventListener("keydown", (event) => this.#onKey(event, true), { signal });
    addEventListener("keyup", (event) => this.#onKey(event, false), { signal });
    const onStop = letGo("STOP was pressed");
    stopListeners.add(onStop);
    return () => {
      ending.abort();
      stopListeners.delete(onStop);
      this.letGo("the view was left");
    };
  }

  begin(options: DriveOptions): void {
    if (this.#link !== null) return;
    this.#options = options;
    this.#isArmed = false;
    this.#called = neutral;
    this.#pad = new FrozenPad();
    this.#keys.clear();
    this.#change({ phase: "starting", why: null });
    const link = new DriveLink(options, {
      onReady: () => {
        this.#change({ phase: "on" });
        this.#look();
      },
      // A task that has ended is called again while the stick is held.
      onDone: () => {
        this.#called = neutral;
      },
      onEnd: (why) => {
        if (this.#link === link) this.#over(why);
      },
    });
    this.#link = link;
  }

  letGo(why: string): void {
    this.#link?.end(why);
  }

  /** The joystick on the screen. */
  touch(stick: Stick): void {
    this.#touch = stick;
    this.#step();
  }

  #over(why: string): void {
    this.#link = null;
    this.#touch = neutral;
    this.#keys.clear();
    this.#padIndex = null;
    cancelAnimationFrame(this.#frame);
    this.#change({ phase: "off", stick: neutral, why });
  }

  /** Gamepads say nothing by themselves. */
  #look(): void {
    this.#step();
    if (this.#link !== null) this.#frame = requestAnimationFrame(() => this.#look());
  }

  #step(): void {
    const link = this.#link;
    const options = this.#options;
    if (link === null || options === null || !link.isReady) return;
    const stick = this.#position();
    if (this.#link === null) return; // the pad was lost
    if (!this.#isArmed) {
      this.#isArmed = isNeutral(stick);
      return;
    }
    if (stick.forward !== this.#state.stick.forward || stick.turn !== this.#state.stick.turn) this.#change({ stick });
    if (isSame(stick, this.#called)) return;
    const nowMs = performance.now();
    // A stick that has come back waits for nothing.
    if (!isNeutral(stick) && nowMs - this.#calledAtMs < callEveryMs) return;
    if (!link.drive(options.argumentsOf(stick))) return;
    this.#called = stick;
    this.#calledAtMs = nowMs;
  }

  #position(): Stick {
    const pad = this.#padPosition();
    if (!isNeutral(pad)) return pad;
    return isNeutral(this.#touch) ? stickOfKeys(this.#keys) : this.#touch;
  }

  #padPosition(): Stick {
    const pads = navigator.getGamepads().filter((pad) => pad !== null);
    if (this.#padIndex !== null && !pads.some(({ index }) => index === this.#padIndex)) {
      this.letGo("the gamepad is gone");
      return neutral;
    }
    const pad = pads.find(({ axes }) => !isNeutral(stickOfPad(axes)));
    this.#padIndex = pad?.index ?? null;
    if (pad === undefined) return neutral;
    const numbers = [pad.index, ...pad.axes, ...pad.buttons.map(({ value }) => value)];
    if (this.#pad.isFrozen(numbers, true, performance.now())) {
      this.letGo("the gamepad's stick has not changed for 1 s");
      return neutral;
    }
    return stickOfPad(pad.axes);
  }

  #onKey(event: KeyboardEvent, isDown: boolean): void {
    if (!isDriveKey(event.code) || this.#link === null) return;
    if (isDown && (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target))) return;
    event.preventDefault();
    if (isDown) this.#keys.add(event.code);
    else this.#keys.delete(event.code);
    this.#step();
  }

  #change(change: Partial<DriveState>): void {
    this.#state = { ...this.#state, ...change };
    this.onChange(this.#state);
  }
}

const isTyping = (target: EventTarget | null): boolean =>
  target instanceof HTMLInputElement || target instanceof HTMLSelectElement;
