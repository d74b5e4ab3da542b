/**
 * The reader of a stream: a browser's list of events, or of pictures. For a slow one the newest
 * value of each topic waits here, and a bounded number of events.
 */
import { gatewayViewerEventsMax } from "../limits.ts";

type Chunk = Uint8Array | string;

export class Viewer {
  readonly stream: ReadableStream<Chunk>;
  #controller: ReadableStreamDefaultController<Chunk> | null = null;
  readonly #events: Chunk[] = [];
  /** Values by topic; a newer one takes the place of one that is not sent yet. */
  readonly #newest = new Map<string, Chunk>();
  #dropped = 0;
  #hasEnded = false;

  /**
   * @param onEnd is called once, when nobody reads any more, or after `end`
   * @param droppedChunk what says that so many events were lost
   */
  constructor(
    private readonly onEnd: () => void,
    private readonly droppedChunk: (count: number) => Chunk,
  ) {
    this.stream = new ReadableStream<Chunk>(
      {
        start: (controller) => {
          this.#controller = controller;
        },
        pull: () => this.#flush(),
        cancel: () => this.#finish(),
      },
      { highWaterMark: 1 },
    );
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** It has not read what was sent. */
  get isSlow(): boolean {
    return this.#events.length > 0 || this.#newest.size > 0;
  }

  /** An event that should not be lost. */
  send(chunk: Chunk): void {
    if (this.#hasEnded) return;
    this.#events.push(chunk);
    if (this.#events.length > gatewayViewerEventsMax) {
      this.#events.shift();
      this.#dropped++;
    }
    this.#flush();
  }

  /** A value that a newer one of the topic replaces. */
  sendNewest(topic: string, chunk: Chunk): void {
    if (this.#hasEnded) return;
    this.#newest.set(topic, chunk);
    this.#flush();
  }

  /** Ends the stream, after what can still be sent. */
  end(): void {
    if (this.#hasEnded) return;
    this.#flush();
    this.#controller?.close();
    this.#finish();
  }

  #flush(): void {
    const controller = this.#controller;
    while (controller !== null && !this.#hasEnded && (controller.desiredSize ?? 0) > 0) {
      const chunk = this.#next();
      if (chunk === undefined) return;
      controller.enqueue(chunk);
    }
  }

  #next(): Chunk | undefined {
    if (this.#dropped > 0) {
      const count = this.#dropped;
      this.#dropped = 0;
      return this.droppedChunk(count);
    }
    const event = this.#events.shift();
    if (event !== undefined) return event;
    for (const [topic, chunk] of this.#newest) {
      this.#newest.delete(topic);
      return chunk;
    }
    return undefined;
  }

  #finish(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#events.length = 0;
    this.#newest.clear();
    this.onEnd();
  }
}

/** All viewers, and their beat, which nobody pays for while there are none. */
export class Viewers {
  readonly #beats = new Map<Viewer, () => void>();
  #timer: Timer | undefined;

  constructor(private readonly beatMs: number) {}

  get size(): number {
    return this.#beats.size;
  }

  add(viewer: Viewer, beat: () => void): void {
    this.#beats.set(viewer, beat);
    this.#timer ??= setInterval(() => {
      for (const beatOne of [...this.#beats.values()]) beatOne();
    }, this.beatMs);
  }

  delete(viewer: Viewer): void {
    this.#beats.delete(viewer);
    if (this.#beats.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  endAll(): void {
    for (const viewer of [...this.#beats.keys()]) viewer.end();
  }
}
