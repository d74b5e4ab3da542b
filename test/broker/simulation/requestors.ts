/** Those who ask: in bursts, one at a time, in batches, with limits, twice under one name, and who change their minds. */

import { abortGraceMs } from "../../../src/limits.ts";
import {
  encodeBatchRequest,
  encodeCancel,
  encodeControlRequest,
  encodeDataRequest,
  encodeKeepAlive,
  encodeTaskPart,
  forPerson,
} from "../../../src/protocol/encode-request.ts";
import type { Frame } from "../../../src/protocol/frame.ts";
import { encodeMeta } from "../../../src/protocol/frames.ts";
import type { TaskOptions } from "../../../src/protocol/policy.ts";
import { type Ask, deadmanOfPart, delayMsMax, type Part } from "./ledger.ts";
import { gateway, type Need, persons } from "./rights.ts";
import { simulatedTasks, taskNames } from "./tasks.ts";
import type { World } from "./world.ts";

const topics = ["pose", "battery", "said"];

export class Requestors {
  #nextUid = 1;
  #nextSerial = 1;
  /** A v0.1 requestor is a REQ socket: it asks when it has been answered. */
  readonly #waiting = new Set<string>();
  readonly #serials: string[] = ["never"];

  constructor(private readonly world: World) {}

  get asked(): number {
    return this.#nextSerial - 1;
  }

  /** Asks for so much from now on, within so many ms. */
  askFor(count: number, withinMs: number): void {
    const { agenda, random } = this.world;
    for (let left = count; left > 0; ) {
      const burst = random.chance(0.3) ? random.whole(2, Math.min(20, left + 1)) : 1;
      const at = agenda.now + random.between(0, withinMs);
      for (let index = 0; index < burst; index++) agenda.at(at + random.between(0, 2), () => this.#askSomething());
      left -= burst;
    }
  }

  /** More than may wait, by batches that share one frame's bytes. */
  flood(): void {
    this.world.ledger.flooded = true;
    for (let count = 0; count < 18; count++) this.#askTask("requestor-9", this.#newSerial(), "quick", 1000, {});
  }

  answered(requestor: string, serial: string | undefined): void {
    this.#waiting.delete(requestor);
    const { agenda, random } = this.world;
    // The cancel that crosses its answer.
    if (serial !== undefined && random.chance(0.02)) agenda.after(1, () => this.#cancel(requestor, serial));
  }

  #askSomething(): void {
    const { random } = this.world;
    if (this.world.router.isDown) return;
    const requestor = random.chance(0.15) ? gateway : `requestor-${random.whole(1, 4)}`;
    if (random.chance(0.1)) {
      this.#askOld(`old-${random.whole(1, 3)}`);
      return;
    }
    if (random.chance(0.08)) {
      this.#cancelSomething(requestor);
      return;
    }
    const serial = random.chance(0.03) ? random.pick(this.#serials) : this.#newSerial();
    if (random.chance(0.12)) this.#askData(requestor, serial);
    else this.#askTask(requestor, serial, this.#pickName(), this.#batchSize(), this.#options());
    if (random.chance(0.1)) this.world.agenda.after(random.between(0, 400), () => this.#cancel(requestor, serial));
  }

  #newSerial(): string {
    const serial = `s${this.#nextSerial++}`;
    this.#serials.push(serial);
    return serial;
  }

  #pickName(): string {
    const { random, favourite } = this.world;
    if (random.chance(0.02)) return "unheard-of";
    return random.chance(0.5) ? favourite : random.pick(taskNames);
  }

  #batchSize(): number {
    const { random } = this.world;
    return random.chance(0.15) ? random.whole(2, 12) : 1;
  }

  #options(): TaskOptions {
    const { random } = this.world;
    return {
      ...(random.chance(0.2) && { priority: random.whole(0, 9) }),
      ...(random.chance(0.15) && { ttlMs: random.between(1, 800) }),
      ...(random.chance(0.15) && { timeoutMs: random.between(1, 800) }),
      ...(random.chance(0.1) && { deadmanMs: random.between(50, 800) }),
      ...(random.chance(0.1) && { preempt: true }),
      ...(random.chance(0.15) && { latest: random.pick(["left", "right", { key: "left", abort: true }]) }),
    };
  }

  part(name: string | null, options: TaskOptions = {}): Part {
    const task = name === null ? null : (simulatedTasks[name] ?? null);
    const uid = this.#nextUid++;
    return { uid, task, name: name ?? "", options, isInHand: false, begins: 0, isCancelled: false, end: null };
  }

  #send(
    said: Pick<Ask, "requestor" | "serial" | "version" | "kind" | "parts" | "person">,
    need: Need,
    frames: readonly Frame[],
  ) {
    const { ledger, agenda, router, rights } = this.world;
    const user = rights.userOf(said.requestor);
    const ask: Ask = {
      ...said,
      user,
      need,
      acceptedAt: 0,
      isForbidden: !rights.may(user, need, said.person),
      revokedAt: Number.POSITIVE_INFINITY,
      quietAt: Number.POSITIVE_INFINITY,
      answeredAt: Number.POSITIVE_INFINITY,
    };
    if (ask.parts.some(({ options: { preempt } }) => preempt === true)) ledger.preempts = true;
    ledger.ask(ask, agenda.now, () => router.fromRequestor(ask.requestor, frames));
    const deadmanMs = Math.min(...ask.parts.map(deadmanOfPart));
    if (deadmanMs < Number.POSITIVE_INFINITY && ask.version !== 0.1) this.#standBy(ask, deadmanMs);
  }

  /** Says that it is there, as often as it has to, until it is answered, or falls silent. */
  #standBy(ask: Ask, deadmanMs: number): void {
    const { agenda, random, ledger, router } = this.world;
    const isOpen = (): boolean => ask.parts.some(({ end }) => end === null) && ask.quietAt === Number.POSITIVE_INFINITY;
    const repeat = (): void => {
      if (!isOpen()) return;
      router.fromRequestor(ask.requestor, encodeKeepAlive({ id: ask.requestor, serial: ask.serial }));
      agenda.after(deadmanMs / 4, repeat);
    };
    agenda.after(deadmanMs / 4, repeat);
    if (random.chance(0.8)) return;
    agenda.after(random.between(0, 600), () => {
      if (!isOpen()) return;
      ledger.goQuiet(ask, agenda.now);
      agenda.after(deadmanMs + abortGraceMs + 3 * delayMsMax, () => ledger.checkDead(ask));
    });
  }

  #askTask(requestor: string, serial: string, name: string, size: number, options: TaskOptions): void {
    const parts = Array.from({ length: size }, () => this.part(name, options));
    const { person, version } = this.#personOf(requestor);
    const frames = encodeBatchRequest(
      forPerson({ id: requestor, serial }, person),
      parts.map(({ uid }) => encodeTaskPart(name, [uid], {}, options)),
    );
    this.#send({ requestor, serial, version, person, kind: "task", parts }, { right: "send", of: name }, frames);
  }

  #askData(requestor: string, serial: string): void {
    const { random } = this.world;
    const topic = random.pick(topics);
    const { person, version } = this.#personOf(requestor);
    const asking = forPerson({ id: requestor, serial }, person);
    const kind = random.chance(0.5) ? "put" : "get";
    const part = this.part(null);
    const frames =
      kind === "put"
        ? encodeDataRequest(asking, topic, { uid: part.uid })
        : encodeControlRequest(asking, { command: "get", topic });
    const need: Need = { right: kind === "put" ? "write" : "read", of: topic };
    this.#send({ requestor, serial, version, person, kind, parts: [part] }, need, frames);
  }

  /** A gateway always asks for somebody. */
  #personOf(requestor: string): Pick<Ask, "person" | "version"> {
    if (requestor !== gateway) return { person: undefined, version: 0.2 };
    return { person: this.world.random.pick(persons), version: 0.3 };
  }

  #askOld(requestor: string): void {
    if (this.#waiting.has(requestor)) return;
    this.#waiting.add(requestor);
    const name = this.#pickName();
    const part = this.part(name);
    const meta = encodeMeta({ id: requestor, role: "requestor", version: 0.1, type: "REQ", pack: 0 });
    const task = encodeTaskPart(`TASK_${name}`, [part.uid], {});
    const need: Need = { right: "send", of: name };
    this.#send({ requestor, serial: "", version: 0.1, person: undefined, kind: "task", parts: [part] }, need, [
      meta,
      task,
    ]);
  }

  #cancelSomething(requestor: string): void {
    const serial = this.world.random.pick(this.#serials);
    if (this.world.random.chance(0.5)) {
      this.#cancel(requestor, serial);
      return;
    }
    for (const key of this.world.ledger.openKeysOf(serial)) this.world.ledger.cancelAll(key);
    this.world.router.fromRequestor(
      "operator",
      encodeControlRequest({ id: "operator", serial: "cancel" }, { command: "cancel", serial }),
    );
  }

  #cancel(requestor: string, serial: string): void {
    this.world.ledger.cancel(requestor, serial);
    this.world.router.fromRequestor(requestor, encodeCancel({ id: requestor, serial }));
  }
}
