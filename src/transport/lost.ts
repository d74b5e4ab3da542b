/** How a socket says in its peer's place that the connection to that is gone: by a message of one frame. */

/** No frame of a peer looks like it: it is not JSON. */
export const lostConnection = "\0lost";

export const saysLost = (frames: readonly (Uint8Array | string)[]): boolean => {
  if (frames.length !== 1) return false;
  const [first] = frames;
  return typeof first === "string" ? first === lostConnection : first?.[0] === 0;
};
