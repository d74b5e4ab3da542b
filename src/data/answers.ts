/** Answers to the requests of a peer, in their order: they wait while it does not read. */
import { peerAnswersMax } from "../limits.ts";
import type { Frame } from "../protocol/frame.ts";
import type { HistoryReading } from "./history-reading.ts";

interface AnswerSink {
  /** Takes a reply, or returns false if there is no room for it. */
  send(frames: readonly Frame[]): boolean;
  /** The same for a framed value. */
  sendValue(bytes: Buffer, start: number, end: number): boolean;
}

interface WaitingAnswer {
  readonly reading: HistoryReading | null;
  readonly encode: () => readonly Frame[];
}

export class Answers {
  readonly #waiting: WaitingAnswer[] = [];

  /** @param onLost an answer found no room */
  constructor(
    private readonly sink: AnswerSink,
    private readonly onLost: () => void,
  ) {}

  /** All are sent. */
  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /**
   * Answers, at once unless the peer does not read.
   * @param encode makes the reply
   * @param reading values that go out before it
   */
  add(encode: () => readonly Frame[], reading: HistoryReading | null = null): void {
    if (this.#waiting.length >= peerAnswersMax) return this.onLost();
    this.#waiting.push({ encode, reading });
    this.pump();
  }

  /** There is room again. */
  pump(): void {
    for (let answer = this.#waiting[0]; answer !== undefined; answer = this.#waiting[0]) {
      if (answer.reading !== null && !answer.reading.pump(this.#sendValue)) return;
      if (!this.sink.send(answer.encode())) return;
      this.#waiting.shift();
    }
  }

  clear(): void {
    this.#waiting.length = 0;
  }

  readonly #sendValue = (bytes: Buffer, start: number, end: number): boolean => this.sink.sendValue(bytes, start, end);
}
