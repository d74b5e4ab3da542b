/**
 * The WebSocket of the drive page. The gateway sends numbered ticks; whatever this end sends names
 * the last one that came, so that nothing that lay in a buffer moves anything.
 */
import type { Arguments } from "./typed.ts";

/** ms. The gateway answers a `start` at once. */
const readyMs = 5_000;

export interface DriveSettings {
  readonly task: string;
  /** ms of silence after which the job ends */
  readonly deadmanMs: number;
}

interface DriveHandlers {
  readonly onReady: () => void;
  /** The running call has ended by itself. */
  readonly onDone: () => void;
  /** Nothing is sent any more, for this reason. */
  readonly onEnd: (why: string) => void;
}

interface Message {
  readonly type: "ready" | "tick" | "result" | "refused";
  readonly tick?: number;
  readonly call?: number;
  readonly code?: string | null;
  readonly message?: string | null;
}

export class DriveLink {
  readonly #socket: WebSocket;
  readonly #settings: DriveSettings;
  readonly #handlers: DriveHandlers;
  #tick: number | null = null;
  /** Calls sent on this socket. */
  #calls = 0;
  #isRunning = false;
  #isOver = false;
  #silence: ReturnType<typeof setTimeout>;

  constructor(settings: DriveSettings, handlers: DriveHandlers) {
    this.#settings = settings;
    this.#handlers = handlers;
    this.#socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}/api/drive`);
    this.#socket.addEventListener("open", () => this.#send({ type: "start", ...settings }));
    this.#socket.addEventListener("message", ({ data }: MessageEvent<string>) => this.#take(JSON.parse(data)));
    this.#socket.addEventListener("close", () => this.end("the connection is lost"));
    this.#silence = this.#endAfter(readyMs, "the gateway does not answer");
  }

  get isReady(): boolean {
    return this.#tick !== null && !this.#isOver;
  }

  get isRunning(): boolean {
    return this.#isRunning;
  }

  /**
   * Calls the task with a new position. False if it was not sent, because the network does not take
   * more.
   */
  drive({ args, kwargs }: Arguments): boolean {
    if (!this.isReady || this.#socket.bufferedAmount > 0) return false;
    this.#calls++;
    this.#isRunning = true;
    this.#send({ type: "drive", tick: this.#tick, args, kwargs });
    return true;
  }

  /** Ends the running call and gives the task free. It can be called at any time. */
  end(why: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#silence);
    this.#send({ type: "end" });
    this.#socket.close();
    this.#handlers.onEnd(why);
  }

  #take(message: Message): void {
    if (this.#isOver) return;
    switch (message.type) {
      case "tick":
        return this.#takeTick(message.tick ?? null);
      case "result":
        return this.#takeResult(message);
      case "refused":
        return this.end(`${message.code}: ${message.message}`);
    }
  }

  #takeTick(tick: number | null): void {
    const isFirst = this.#tick === null;
    this.#tick = tick;
    clearTimeout(this.#silence);
    this.#silence = this.#endAfter(this.#settings.deadmanMs, "the gateway is silent");
    this.#send({ type: "alive", tick });
    if (isFirst) this.#handlers.onReady();
  }

  #takeResult({ call, code = null, message }: Message): void {
    // An older call was replaced by a newer one.
    if (call !== this.#calls || code === "SUPERSEDED") return;
    this.#isRunning = false;
    if (code === null) this.#handlers.onDone();
    else this.end(`${code}: ${message}`);
  }

  #endAfter(ms: number, why: string): ReturnType<typeof setTimeout> {
    return setTimeout(() => this.end(why), ms);
  }

  #send(message: object): void {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }
}
