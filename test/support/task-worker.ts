/** A real task worker process, and its router and its supervisor, both played by the test: `await using worker = await startTaskWorker({…})`. */
import { type Begun, BegunRecord } from "../../src/process/begun.ts";
import { type Channel, withChannel } from "../../src/process/channel.ts";
import type { ChildMessage, SupervisorMessage } from "../../src/process/messages.ts";
import { supervisorVariable } from "../../src/process/supervised.ts";
import { decodeFromWorker, encodeBackend, type RouterHeader, type WorkerHeader } from "../../src/protocol/backend.ts";
import { ProtocolError } from "../../src/protocol/errors.ts";
import { type Frame, textOf } from "../../src/protocol/frame.ts";
import type { Json } from "../../src/protocol/json.ts";
import { Router } from "../../src/transport/zmq/socket.ts";
import { taskEngine } from "./executable.ts";
import { untilFree } from "./hand-router.ts";
import { freePorts } from "./ports.ts";
import { json } from "./raw-requestor.ts";
import { type TempFolder, tempFolder } from "./temp-folder.ts";

/** ms. A test that waits as long has failed. */
const patienceMs = 60_000;

/** What the worker has told its router: without its beats, its bodies' data with it. */
export type Said = Exclude<WorkerHeader, { type: "BEAT" }> & {
  readonly data: readonly unknown[];
  /** Of binary results. */
  readonly bodies?: readonly Frame[];
};

/** A worker of one language. */
interface Kind {
  readonly program: readonly string[];
  /** Where its router listens. */
  readonly backend: (folder: TempFolder) => string;
  readonly flags: (port: number) => readonly string[];
}

const typescript: Kind = {
  program: taskEngine,
  backend: () => "tcp://127.0.0.1:*",
  flags: (port) => ["--host", "127.0.0.1", "--port", String(port)],
};

const python: Kind = {
  program: [
    process.env.PYTHON ?? "/usr/bin/python3",
    "-I",
    "-B",
    "-X",
    "utf8",
    `${import.meta.dir}/../../src/python/task_engine.py`,
  ],
  backend: (folder) => `ipc://${folder.at("python.sock")}`,
  flags: () => [],
};

export class TaskWorker implements AsyncDisposable {
  readonly said: Said[] = [];
  readonly told: ChildMessage[] = [];
  readonly #folder: TempFolder;
  readonly #port = freePorts(1);
  readonly #record = new BegunRecord();
  readonly #process: Bun.Subprocess;
  readonly #channel: Channel<ChildMessage, SupervisorMessage>;
  #router = new Router({ linger: 0 });
  readonly #backend: string;
  #key: Uint8Array = new Uint8Array(0);

  /** @param files of its folder of tasks */
  constructor(files: Record<string, string>, { program, backend, flags }: Kind = typescript) {
    this.#folder = tempFolder(files);
    this.#router.bind(backend(this.#folder));
    this.#backend = this.#router.lastEndpoint;
    this.#listen(this.#router);
    const argv = [...flags(this.#port), "--backend", this.#backend, "--tasks", this.#folder.path];
    const { channel, started } = withChannel(
      (message: ChildMessage) => void this.told.push(message),
      (theirs) =>
        Bun.spawn({
          cmd: [...program, "task-worker", ...argv],
          env: { PATH: process.env.PATH ?? "", [supervisorVariable]: String(process.pid), NOTES: this.notesFile },
          stdio: ["ignore", "inherit", "inherit", theirs, this.#record.descriptor],
        }),
    );
    this.#channel = channel;
    this.#process = started;
    this.order({ type: "security", security: null });
  }

  /** A file that its tasks may write to, by `NOTES`. */
  get notesFile(): string {
    return this.#folder.at("notes");
  }

  /** Of its own port. */
  get endpoint(): string {
    return `tcp://127.0.0.1:${this.#port}`;
  }

  /** The last job that it has noted as begun. */
  get begun(): number {
    return this.#record.read().job;
  }

  /** What it was at, as its supervisor reads it. */
  get record(): Begun {
    return this.#record.read();
  }

  /** Waits for its end; gives how that came. */
  async ended(): Promise<string | number | null> {
    await this.#process.exited;
    return this.#process.signalCode ?? this.#process.exitCode;
  }

  /** As its supervisor. */
  order(message: SupervisorMessage): void {
    this.#channel.send(message);
  }

  /** As its router. */
  hand(header: RouterHeader, bodies: readonly Frame[] = []): void {
    this.#router.trySend([this.#key, ...encodeBackend(header, bodies)]);
  }

  run(job: number, task: string, args: readonly Json[] = []): void {
    this.runAll([job, task, args]);
  }

  /** In one message. */
  runAll(...jobs: readonly (readonly [job: number, task: string, args?: readonly Json[]])[]): void {
    const ids = jobs.map(([job]) => job);
    const bodies = jobs.map(([, task, args = []]) => json({ task, args, kwargs: {}, pack: 1 }));
    this.hand({ type: "JOBS", jobs: ids, serials: ids.map((id) => `s-${id}`) }, bodies);
  }

  /** Waits for a message to its router that fits. */
  async heard<Type extends Said["type"]>(type: Type, job?: number): Promise<Extract<Said, { type: Type }>> {
    return until(`${type} ${job ?? ""}`, () =>
      this.said.find(
        (said): said is Extract<Said, { type: Type }> =>
          said.type === type && (job === undefined || jobsOf(said).includes(job)),
      ),
    );
  }

  /** Waits until it has joined twice. */
  async joinedAgain(): Promise<void> {
    await until("a second READY", () =>
      this.said.filter(({ type }) => type === "READY").length > 1 ? true : undefined,
    );
  }

  /** Waits for a word to its supervisor. */
  async toldSupervisor(type: ChildMessage["type"], halt?: number): Promise<ChildMessage> {
    return until(`${type} ${halt ?? ""}`, () =>
      this.told.find(
        (message) => message.type === type && (halt === undefined || ("halt" in message && message.halt === halt)),
      ),
    );
  }

  /** Waits for a line in the notes; gives all of them. */
  async noted(line: string): Promise<string[]> {
    return until(`the note ${line}`, async () => {
      const file = Bun.file(this.notesFile);
      const lines = (await file.exists()) ? (await file.text()).split("\n") : [];
      return lines.includes(line) ? lines.slice(0, -1) : undefined;
    });
  }

  /** The router goes; what takes its place has the same address, and knows nothing. */
  async replaceRouter(): Promise<void> {
    this.#router.close();
    this.#router = new Router({ linger: 0 });
    await untilFree(() => this.#router.bind(this.#backend));
    this.#listen(this.#router);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.exited;
    await this.#channel.ended;
    this.#router.close();
    this.#record.close();
    this.#folder[Symbol.dispose]();
  }

  #listen(router: Router): void {
    router.onReadable(() => {
      for (let message = router.tryReceive(); message !== null; message = router.tryReceive()) {
        const [key = new Uint8Array(0), ...frames] = message;
        const decoded = decodeFromWorker(frames);
        if (decoded instanceof ProtocolError) throw new Error(`the worker said nonsense: ${decoded.message}`);
        this.#hear(key, decoded.header, decoded.bodies);
      }
    });
  }

  #hear(key: Uint8Array, header: WorkerHeader, bodies: readonly Frame[]): void {
    if (header.type === "BEAT") return;
    if ("contentTypes" in header && header.contentTypes !== undefined) {
      this.said.push({ ...header, data: [], bodies: bodies.map((body) => new Uint8Array(Buffer.from(body))) });
      return;
    }
    this.said.push({ ...header, data: bodies.map((body) => JSON.parse(textOf(body)).data) });
    if (header.type !== "READY") return;
    this.#key = key;
    this.hand({ type: "WELCOME" });
  }
}

/** Started, and known to its router. */
export const startTaskWorker = (files: Record<string, string>): Promise<TaskWorker> => start(files, typescript);

/** The same of Python. */
export const startPythonWorker = (files: Record<string, string>): Promise<TaskWorker> => start(files, python);

const start = async (files: Record<string, string>, kind: Kind): Promise<TaskWorker> => {
  const worker = new TaskWorker(files, kind);
  try {
    await worker.heard("READY");
  } catch (failure) {
    await worker[Symbol.asyncDispose]();
    throw failure;
  }
  return worker;
};

const jobsOf = (said: Said): readonly number[] => ("jobs" in said ? said.jobs : "job" in said ? [said.job] : []);

const until = async <Found>(
  what: string,
  look: () => Found | undefined | Promise<Found | undefined>,
): Promise<Found> => {
  for (const deadlineMs = performance.now() + patienceMs; performance.now() < deadlineMs; await Bun.sleep(5)) {
    const found = await look();
    if (found !== undefined) return found;
  }
  throw new Error(`the worker never came to ${what}`);
};
