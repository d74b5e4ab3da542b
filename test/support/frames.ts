/** Frames as they come out at the other end: text is bytes there. */
export const asReceived = (frames: readonly (Uint8Array | string)[]): Uint8Array[] =>
  frames.map((frame) => (typeof frame === "string" ? Buffer.from(frame) : frame));
