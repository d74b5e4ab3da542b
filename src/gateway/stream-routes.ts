/** Streams: server-sent events, and pictures as MJPEG. */
import type { Client } from "../client/client.ts";
import { gatewayViewerNamesMax, gatewayViewersMax } from "../limits.ts";
import type { JsonObject } from "../protocol/json.ts";
import { demand } from "./engine.ts";
import { HttpError } from "./errors.ts";
import type { Feed, FeedName, Feeds } from "./feeds.ts";
import type { Call, Route } from "./routes.ts";
import type { Person } from "./tokens.ts";
import { Viewer, type Viewers } from "./viewer.ts";

interface StreamContext {
  readonly client: Client;
  readonly feeds: Feeds;
  readonly viewers: Viewers;
  /** Whether the person still has the token and the rights by which the stream began. */
  readonly isStill: (person: Person) => boolean;
  /** The server must not end the connection of a quiet stream. */
  readonly keepOpen: (request: Request) => void;
}

export const streamRoutes = (context: StreamContext): readonly Route[] => [
  {
    method: "GET",
    path: "/api/events",
    summary: "Values and events as they come, as server-sent events",
    rights: "read, or observe for the engine's own topics",
    query: {
      topic: { type: "array", items: { type: "string" }, description: "whole names" },
      prefix: { type: "array", items: { type: "string" }, description: "beginnings of names" },
    },
    answers: { 200: { description: "a stream that does not end", type: "text/event-stream" } },
    handle: (call) => eventsAnswer(context, call),
  },
  {
    method: "GET",
    path: "/api/stream/{topic}",
    summary: "The pictures of a topic as they come: MJPEG",
    rights: "read",
    answers: { 200: { description: "a stream that does not end", type: "multipart/x-mixed-replace" } },
    handle: (call) => picturesAnswer(context, call),
  },
];

const sse = (event: string | null, text: string): string =>
  event === null ? `data: ${text}\n\n` : `event: ${event}\ndata: ${text}\n\n`;

const eventsAnswer = (context: StreamContext, { person, query, request }: Call): Response => {
  const names: FeedName[] = [
    ...query.getAll("topic").map((name) => ({ name, isPrefix: false })),
    ...query.getAll("prefix").map((name) => ({ name, isPrefix: true })),
  ];
  if (names.length > gatewayViewerNamesMax) {
    throw new HttpError("BAD_ARGS", `${names.length} topics and prefixes, the limit is ${gatewayViewerNamesMax}`);
  }
  for (const { name, isPrefix } of names) {
    if (name === "" && !isPrefix) throw new HttpError("BAD_ARGS", "a topic has no name");
    demand(person, "read", name);
  }
  const { client } = context;
  let isConnected: boolean | null = null;
  const beat = (viewer: Viewer): void => {
    if (isConnected !== client.isConnected) {
      isConnected = client.isConnected;
      viewer.send(sse("engine", JSON.stringify({ connected: isConnected })));
    }
    if (!viewer.isSlow) viewer.send(sse("beat", JSON.stringify({ at: Date.now() / 1000 })));
  };
  const viewer = openViewer(context, person, request, names, {
    droppedChunk: (count) => sse("dropped", JSON.stringify({ topic: "", count })),
    beat,
    onValue: (viewer, { value, text, isEvent }, feed) => {
      if (!isNearest(feed, value.topic, names)) return;
      if (isEvent) viewer.send(sse(null, text));
      else viewer.sendNewest(value.topic, sse(null, text));
    },
    onEvent: (viewer, type, data) => {
      viewer.send(sse(type, JSON.stringify(data)));
      if (type === "failed") viewer.end();
    },
  });
  beat(viewer);
  return new Response(viewer.stream, { headers: { "Content-Type": "text/event-stream; charset=utf-8" } });
};

/** A value comes by the whole name of its topic, else by the longest prefix that fits it. */
const isNearest = ({ name: { name, isPrefix } }: Feed, topic: string, names: readonly FeedName[]): boolean =>
  !isPrefix ||
  !names.some(
    (other) =>
      (!other.isPrefix && other.name === topic) ||
      (other.isPrefix && other.name.length > name.length && topic.startsWith(other.name)),
  );

const boundary = "task-engine-picture";
const delimiter = `--${boundary}\r\n`;

const picturesAnswer = (context: StreamContext, { person, params, request }: Call): Response => {
  const { topic: name = "" } = params;
  demand(person, "read", name);
  const viewer = openViewer(context, person, request, [{ name, isPrefix: false, isRaw: true }], {
    droppedChunk: () => "",
    beat: () => undefined,
    onValue: (viewer, { value }) => {
      const { contentType = "" } = value;
      // A browser shows in a part what its type says, and an SVG may have scripts.
      if (!/^image\/(jpeg|png|webp|gif|bmp)\b/.test(contentType)) return;
      const { bytes } = value;
      const head = `Content-Type: ${contentType.split(";")[0]}\r\nContent-Length: ${bytes.length}\r\n\r\n`;
      // A browser shows a part once it has the boundary that follows.
      viewer.sendNewest("", Buffer.concat([Buffer.from(head), bytes, Buffer.from(`\r\n${delimiter}`)]));
    },
    onEvent: (viewer, type) => {
      if (type === "failed") viewer.end();
    },
  });
  viewer.send(delimiter);
  return new Response(viewer.stream, {
    headers: { "Content-Type": `multipart/x-mixed-replace; boundary=${boundary}` },
  });
};

interface StreamHandlers {
  readonly droppedChunk: (count: number) => string;
  readonly beat: (viewer: Viewer) => void;
  readonly onValue: (
    viewer: Viewer,
    value: Parameters<Parameters<Feeds["follow"]>[1]["onValue"]>[0],
    feed: Feed,
  ) => void;
  readonly onEvent: (viewer: Viewer, type: string, data: JsonObject) => void;
}

const openViewer = (
  { feeds, viewers, isStill, keepOpen }: StreamContext,
  person: Person,
  request: Request,
  names: readonly FeedName[],
  { droppedChunk, beat, onValue, onEvent }: StreamHandlers,
): Viewer => {
  if (viewers.size >= gatewayViewersMax) {
    throw new HttpError("QUEUE_FULL", `${gatewayViewersMax} viewers are there already`);
  }
  let unfollow = (): void => undefined;
  const viewer = new Viewer(() => {
    viewers.delete(viewer);
    unfollow();
  }, droppedChunk);
  viewers.add(viewer, () => {
    if (isStill(person)) beat(viewer);
    else viewer.end();
  });
  try {
    unfollow = feeds.follow(names, {
      onValue: (value, feed) => onValue(viewer, value, feed),
      onEvent: (type, data) => onEvent(viewer, type, data),
    });
  } catch (error) {
    viewer.end();
    throw error;
  }
  if (viewer.hasEnded) unfollow();
  keepOpen(request);
  return viewer;
};
