/**
 * The journal of a broker on a bench, on a real file: `using journal = new BenchJournal(bench, path)`. It
 * commits when it is told to.
 */
import { Journal } from "../../src/journal/journal.ts";
import type { RouterHeader } from "../../src/protocol/backend.ts";
import type { Frame } from "../../src/protocol/frame.ts";
import type { BrokerBench } from "./broker-bench.ts";

type Append = Extract<RouterHeader, { type: "APPEND" }>;

export class BenchJournal implements Disposable {
  readonly #journal: Journal;
  /** Messages of the bench that it has seen, and those of them that wait for `commit`. */
  #seen = 0;
  #waiting: { readonly header: Append; readonly bodies: readonly Frame[] }[] = [];

  constructor(
    private readonly bench: BrokerBench,
    path: string,
    readonly key = "journal",
  ) {
    this.#journal = new Journal({ path, onDamaged: (name) => bench.logs.push(name) });
    this.join();
  }

  /** It joins (again), and gives the jobs that it has. */
  join(): void {
    this.#seen = this.bench.toWorkers.length;
    this.#waiting = [];
    this.bench.ready(this.key, [], { role: "journal", id: "JOURNAL-7", pid: 7 });
    this.#look();
    this.report();
  }

  report(failure: string | null = null): void {
    this.bench.say(this.key, { type: "JOURNAL", ...this.#journal.report(), failure });
  }

  /** All that the router sends is on the disk, and confirmed unless it dies right then; or is refused. */
  commit({ confirms = true, failure = null as string | null } = {}): void {
    this.#look();
    for (let message = this.#waiting.shift(); message !== undefined; message = this.#waiting.shift()) {
      const { header, bodies } = message;
      if (failure === null) this.#journal.append(header.from, header.entries, bodies);
      const through = header.from + header.entries.length - 1;
      const done = failure === null ? this.#journal.commit() : { through, failure };
      if (done !== null && confirms) this.bench.say(this.key, { type: "COMMITTED", ...done });
      this.#look();
    }
  }

  /** History that waits is on the disk. */
  flush(): void {
    this.#journal.flushHistory();
  }

  /** `id: state`, in their order. */
  get states(): string[] {
    return (this.#journal.read(0)?.kept ?? []).map(({ state, code, isDead }) =>
      [state, ...(code === null ? [] : [code]), ...(isDead ? ["dead"] : [])].join(" "),
    );
  }

  die(): void {
    this.bench.handle({ type: "gone", pid: 7, begun: 0 });
    this.bench.handle({ type: "disconnected", key: this.key });
    this.#waiting = [];
  }

  [Symbol.dispose](): void {
    this.#journal[Symbol.dispose]();
  }

  /** Reads what has come: asks for jobs are answered at once. */
  #look(): void {
    while (this.#seen < this.bench.toWorkers.length) {
      const message = this.bench.toWorkers[this.#seen++];
      if (message?.key !== this.key) continue;
      const { header, bodies } = message;
      if (header.type === "APPEND") this.#waiting.push({ header, bodies });
      if (header.type === "LOGS") {
        this.bench.say(this.key, { type: "LOGGED", request: header.request }, [this.#journal.logOf(header.job)]);
      }
      if (header.type !== "RECOVER") continue;
      const found = this.#journal.read(header.from);
      if (found === null) continue;
      const { kept, next, schedules } = found;
      this.bench.say(this.key, { type: "RECOVERED", kept: [...kept], next, schedules: [...schedules] }, found.bodies);
    }
  }
}
