import { readFileSync } from "node:fs";

/** Sockets of a port's name, unix(7): those that listen, and those of its connections at this end. */
export const socketsOf = (port: number): { listening: number; connected: number } => {
  const lines = readFileSync("/proc/net/unix", "utf8").split("\n");
  const states = lines
    .filter((line) => line.endsWith(` @task-engine/2/127.0.0.1:${port}`))
    .map((line) => line.split(" "));
  return {
    listening: states.filter(([, , , flags]) => flags === "00010000").length,
    connected: states.filter(([, , , , , state]) => state === "03").length,
  };
};
