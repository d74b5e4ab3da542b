/** The engine's own topics: what it says of its own life. PROTOCOL.md has their payloads. */

/** Their names begin so. */
export const engineTopicPrefix = "$engine/";

/** Those of the router. The data workers have further ones, of topics. */
export const routerTopics = [
  "$engine/jobs",
  "$engine/workers",
  "$engine/stop",
  "$engine/log",
  "$engine/resources",
  "$engine/schedules",
] as const;
export type RouterTopic = (typeof routerTopics)[number];

/** The topic that data workers publish themselves. */
export const topicsTopic = "$engine/topics";

export const engineTopics = [...routerTopics, topicsTopic] as const;
export type EngineTopic = (typeof engineTopics)[number];

/** True for the name of one, and for whatever else begins so: programs have no such topics. */
export const isEngineTopic = (topic: string): boolean => topic.startsWith("$");

/** The only one of them whose newest value is kept. */
export const stopTopic: EngineTopic = "$engine/stop";

/** A line of the log of one process. */
export interface LogLine {
  /** seconds since 1970 */
  readonly at: number;
  readonly level: "info" | "warn" | "error";
  readonly text: string;
  /** The router's number of the job that wrote it; null for none. */
  readonly job: number | null;
}
