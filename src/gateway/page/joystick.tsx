/** A joystick for a thumb: where it is touched counts from the middle, and it springs back. */
import type { JSX } from "preact";
import { useRef } from "preact/hooks";
import { neutral, type Stick, stickOfTouch } from "./drive-input.ts";

export const Joystick = (props: {
  readonly stick: Stick;
  readonly isOn: boolean;
  readonly onMove: (stick: Stick) => void;
}): JSX.Element => {
  const { stick, isOn, onMove } = props;
  const place = useRef<HTMLDivElement>(null);
  const pointer = useRef<number | null>(null);
  const move = (event: PointerEvent): void => {
    const box = place.current?.getBoundingClientRect();
    if (box === undefined || pointer.current !== event.pointerId) return;
    const radius = (box.width / 2) * 0.75;
    onMove(stickOfTouch(event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2, radius));
  };
  const release = (event: PointerEvent): void => {
    if (pointer.current !== event.pointerId) return;
    pointer.current = null;
    onMove(neutral);
  };
  return (
    <div
      ref={place}
      class={isOn ? "joystick on" : "joystick"}
      role="application"
      aria-label="Joystick: drag it, or hold the arrow keys or W, A, S, D"
      // biome-ignore lint/a11y/noNoninteractiveTabindex: it is for keys, too
      tabIndex={0}
      onPointerDown={(event) => {
        if (!isOn || pointer.current !== null) return;
        pointer.current = event.pointerId;
        place.current?.setPointerCapture(event.pointerId);
        move(event);
      }}
      onPointerMove={move}
      onPointerUp={release}
      onPointerCancel={release}
      onLostPointerCapture={release}
      onContextMenu={(event) => event.preventDefault()}
    >
      <span
        class="knob"
        style={{ transform: `translate(${Math.round(stick.turn * 75)}%, ${Math.round(-stick.forward * 75)}%)` }}
      />
    </div>
  );
};
