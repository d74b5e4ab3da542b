/**
 * The simulated journal: the real one, on a real file, in a process whose disk is slow or full, and which dies with all that
 * it has not committed. It keeps what the file must hold.
 */
import { Journal } from "../../../src/journal/journal.ts";
import { beatIntervalMs } from "../../../src/limits.ts";
import type { BackendMessage, RouterHeader } from "../../../src/protocol/backend.ts";
import type { JournalEntry, KeptJob } from "../../../src/protocol/journal.ts";
import { tempFolder } from "../../support/temp-folder.ts";
import { check } from "./ledger.ts";
import { Link } from "./link.ts";
import type { World } from "./world.ts";

type Message = BackendMessage<RouterHeader>;

const fullDisk = "database or disk is full";

export class SimulatedJournal implements Disposable {
  readonly #folder = tempFolder({}, "/dev/shm");
  #journal: Journal | null = null;
  #link: Link | null = null;
  #pid = 0;
  /** What has come and is not done: it does one thing after the other. */
  #queue: Message[] = [];
  #isBusy = false;
  #failure: string | null = null;
  /** The committed ends, by the jobs' ids. */
  readonly ends = new Map<string, string>();
  /** ms since 1970 by the name of a schedule: what was due until then is done. */
  readonly due = new Map<string, number>();
  /** Times at which durable jobs may have been refused for its sake. */
  troubles = 0;

  constructor(private readonly world: World) {}

  get isAlive(): boolean {
    return this.#journal !== null;
  }

  start(): void {
    if (this.isAlive) return;
    this.#journal = new Journal({ path: this.#folder.at("journal.db"), onDamaged: (name) => check(false, name) });
    this.#pid = this.world.nextPid();
    this.#connect();
    this.#beat(this.#pid);
  }

  /** It dies, alone or with the whole machine. What it has committed is in the file, and nothing else. */
  die(): void {
    if (!this.isAlive) return;
    const { agenda, random, router } = this.world;
    const pid = this.#pid;
    this.troubles++;
    this.#journal?.[Symbol.dispose]();
    this.#journal = null;
    this.#forget();
    agenda.after(random.between(0, 60), () => router.handle({ type: "gone", pid, begun: 0 }));
    if (!this.world.isEnding) agenda.after(random.between(50, 2000), () => this.start());
  }

  /** Its connection breaks, or the router has died: it finds another one. */
  loseConnection(): void {
    if (!this.isAlive || this.#link === null) return;
    const { agenda, random } = this.world;
    const pid = this.#pid;
    this.troubles++;
    this.#forget();
    agenda.after(random.between(1, 2000), () => {
      if (this.isAlive && this.#pid === pid && this.#link === null) this.#connect();
    });
  }

  /** Its disk takes nothing for a while. */
  fill(ms: number): void {
    this.#fail(fullDisk);
    this.world.agenda.after(ms, () => this.#fail(null));
  }

  /** What the file has. */
  rows(): KeptJob[] {
    const opened = this.#journal ?? new Journal({ path: this.#folder.at("journal.db"), onDamaged: () => undefined });
    const rows: KeptJob[] = [];
    for (let next: number | null = 0; next !== null; ) {
      const found = opened.read(next);
      rows.push(...(found?.kept ?? []));
      next = found?.next ?? null;
    }
    if (this.#journal === null) opened[Symbol.dispose]();
    return rows;
  }

  [Symbol.dispose](): void {
    this.#journal?.[Symbol.dispose]();
    this.#folder[Symbol.dispose]();
  }

  #connect(): void {
    const { rights, links } = this.world;
    const link = new Link(this.world, this.world.nextKey(), rights.userOfWorker(true), (message) =>
      this.#hear(message),
    );
    this.#link = link;
    links.set(link.key, link);
    this.#sayReady();
  }

  #sayReady(): void {
    const id = `JOURNAL-${this.#pid}`;
    this.#link?.send({ type: "READY", role: "journal", id, pid: this.#pid, tasks: [], endpoint: "", supervised: true });
  }

  /** Nobody hears its confirmations any more, and it hears of none. */
  #forget(): void {
    this.#link?.break(false);
    this.#link = null;
    this.#queue = [];
    this.#isBusy = false;
  }

  #beat(pid: number): void {
    this.world.agenda.after(beatIntervalMs, () => {
      if (!this.isAlive || this.#pid !== pid) return;
      this.#link?.send({ type: "BEAT" });
      this.#beat(pid);
    });
  }

  #hear(message: Message): void {
    const { header } = message;
    if (header.type === "WHO") this.#sayReady();
    else if (header.type === "WELCOME") this.#report();
    else if (header.type === "APPEND" || header.type === "RECOVER") {
      this.#queue.push(message);
      this.#work();
    }
  }

  #report(): void {
    const report = this.#journal?.report();
    if (report !== undefined) this.#link?.send({ type: "JOURNAL", ...report, failure: this.#failure });
  }

  #fail(failure: string | null): void {
    if (failure !== null) this.troubles++;
    this.#failure = failure;
    if (this.isAlive) this.#report();
  }

  /** What has come while it waited for the disk is committed together. */
  #work(): void {
    const { agenda, random } = this.world;
    const link = this.#link;
    const [first] = this.#queue;
    if (this.#isBusy || first === undefined || link === null) return;
    this.#isBusy = true;
    agenda.after(random.chance(0.9) ? random.between(0.05, 5) : random.between(5, 400), () => {
      if (this.#link !== link) return;
      this.#isBusy = false;
      const isRead = first.header.type === "RECOVER";
      const appends = this.#queue.findIndex(({ header }) => header.type !== "APPEND");
      const messages = this.#queue.splice(0, isRead ? 1 : appends < 0 ? this.#queue.length : appends);
      if (isRead) this.#read(first);
      else this.#commit(messages);
      this.#work();
    });
  }

  #read({ header }: Message): void {
    const found = header.type === "RECOVER" ? (this.#journal?.read(header.from) ?? null) : null;
    if (found === null) return;
    const { kept, bodies, next, schedules } = found;
    this.#link?.send({ type: "RECOVERED", kept: [...kept], next, schedules: [...schedules] }, bodies);
  }

  #commit(messages: readonly Message[]): void {
    let through = 0;
    for (const { header, bodies } of messages) {
      if (header.type !== "APPEND") continue;
      through = header.from + header.entries.length - 1;
      if (this.#failure !== null) continue;
      for (const entry of header.entries) this.#note(entry);
      this.#journal?.append(header.from, header.entries, bodies);
    }
    const failure = this.#failure ?? this.#journal?.commit()?.failure ?? null;
    this.#link?.send({ type: "COMMITTED", through, failure });
  }

  #note(entry: JournalEntry): void {
    if (entry.entry === "due") this.due.set(entry.schedule, entry.at * 1000);
    if (entry.entry !== "ended") return;
    const end = `${entry.state} ${entry.code}`;
    const before = this.ends.get(entry.job) ?? end;
    check(before === end, `durable job ${entry.job} ends as ${end} after it has ended as ${before}`);
    this.ends.set(entry.job, end);
  }
}
