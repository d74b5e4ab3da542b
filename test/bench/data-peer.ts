/**
 * One process of the data plane's benchmark: `bun data-peer.ts SYSTEM URL ROLE …`, told by its parent over IPC, for which it prints
 * nothing. A publisher sends `{ t, pad }`; subscribers report how many values they have got, and the ms that they took.
 */
import { dlopen } from "bun:ffi";
import { connect } from "task-engine";
import { warn } from "../../src/process/log.ts";

/** What a parent says, and what a peer answers. */
export type Order =
  | { readonly publish: number; readonly bytes: number; readonly window: number }
  | { readonly pace: number; readonly hz: number; readonly bytes: number }
  | { readonly seen: number }
  | { readonly report: true };
export type Answer =
  | { readonly ready: true }
  /** All subscribers have got so many values, at that ms of `nowMs`. */
  | { readonly seen: number; readonly atMs: number }
  | { readonly published: number }
  | { readonly count: number; readonly latencies: readonly number[]; readonly dropped: number };

interface Peer {
  /** Gives a promise of room where there is none at present. */
  publish(value: object | Uint8Array): Promise<void> | null;
  /** Calls back with the payload's text or bytes, undecoded. */
  subscribe(onValue: (read: () => number) => void): Promise<() => number>;
}

const topic = "distance";
const [, , system = "", url = "", role = "", count = "1", mode = "all"] = process.argv;
const modules = process.env.BENCH_MODULES ?? "";

const { symbols } = dlopen("libc.so.6", { clock_gettime: { args: ["int", "ptr"], returns: "int" } });
const time = new BigInt64Array(2);
/** ms of the system's monotonic clock, the same in all processes. */
const nowMs = (): number => {
  symbols.clock_gettime(1, time);
  return Number(time[0]) * 1000 + Number(time[1]) / 1e6;
};

/** Sent times are the first 8 bytes of binary values, and `t` of others. */
const sentAt = (payload: Uint8Array): number =>
  payload[0] === 0x7b
    ? JSON.parse(new TextDecoder().decode(payload)).t
    : new DataView(payload.buffer, payload.byteOffset).getFloat64(0);

const engine = async (): Promise<Peer> => {
  const client = connect(url);
  return {
    publish: (value) => (client.publish(topic, value) ? null : client.drained()),
    subscribe: async (onValue) => {
      const subscription = client.subscribe([topic], {
        mode: mode === "latest" ? "latest" : "all",
        onEvent: (event) => warn(`subscriber: ${JSON.stringify(event)}`),
        onValue: (value) =>
          onValue(() => (value.data instanceof Uint8Array ? sentAt(value.data) : (value.data as { t: number }).t)),
      });
      return () => subscription.dropped;
    },
  };
};

const nats = async (): Promise<Peer> => {
  const { connect: connectTo } = await import(`${modules}/@nats-io/transport-node`);
  const connection = await connectTo({ servers: url });
  return {
    publish: (value) => {
      connection.publish(topic, value instanceof Uint8Array ? value : JSON.stringify(value));
      return null;
    },
    subscribe: async (onValue) => {
      connection.subscribe(topic, {
        callback: (_: unknown, message: { data: Uint8Array }) => onValue(() => sentAt(message.data)),
      });
      await connection.flush();
      return () => 0;
    },
  };
};

const mosquitto = async (): Promise<Peer> => {
  const { default: mqtt } = await import(`${modules}/mqtt`);
  const client = await mqtt.connectAsync(`mqtt://${url}`);
  return {
    publish: (value) => {
      client.publish(topic, value instanceof Uint8Array ? Buffer.from(value) : JSON.stringify(value));
      return null;
    },
    subscribe: async (onValue) => {
      client.on("message", (_: string, payload: Buffer) => onValue(() => sentAt(payload)));
      await client.subscribeAsync(topic);
      return () => 0;
    },
  };
};

const open = { engine, nats, mosquitto }[system];
if (open === undefined) throw new Error(`no system ${system}`);
const tell = (answer: Answer): void => void process.send?.(answer);
const orders = (handle: (order: Order) => void): void => void process.on("message", handle);

const publishAll = (peer: Peer, total: number, bytes: number, window: number): void => {
  const pad = "x".repeat(Math.max(0, bytes - 34));
  let sent = 0;
  let seen = 0;
  let isWaiting = false;
  const step = (): void => {
    const t = nowMs();
    let room: Promise<void> | null = null;
    for (let turn = 0; turn < 256 && sent < total && sent - seen < window && room === null; turn++, sent++) {
      room = peer.publish({ t, pad });
    }
    isWaiting = room === null && sent - seen >= window;
    if (sent === total) tell({ published: sent });
    else if (room !== null) room.then(step);
    else if (!isWaiting) setImmediate(step);
  };
  orders((order) => {
    if (!("seen" in order)) return;
    seen = order.seen;
    if (isWaiting) step();
  });
  step();
};

const publishPaced = (peer: Peer, total: number, hz: number, bytes: number): void => {
  const binary = bytes > 10_000 ? new Uint8Array(bytes) : null;
  const pad = "x".repeat(Math.max(0, Math.min(bytes, 10_000) - 34));
  const startMs = performance.now() + 50;
  let sent = 0;
  const step = (): void => {
    const t = nowMs();
    if (binary !== null) new DataView(binary.buffer).setFloat64(0, t);
    void peer.publish(binary ?? { t, pad });
    sent++;
    if (sent < total) setTimeout(step, Math.max(0, startMs + (sent * 1000) / hz - performance.now()));
    else tell({ published: sent });
  };
  setTimeout(step, 50);
};

if (role === "publish") {
  const peer = await open();
  orders((order) => {
    if ("publish" in order) publishAll(peer, order.publish, order.bytes, order.window);
    else if ("pace" in order) publishPaced(peer, order.pace, order.hz, order.bytes);
  });
} else {
  let least = 0;
  let told = 0;
  const counts: number[] = [];
  const latencies: number[] = [];
  const drops: (() => number)[] = [];
  for (let index = 0; index < Number(count); index++) {
    const peer = await open();
    counts.push(0);
    drops.push(
      await peer.subscribe((read) => {
        const got = (counts[index] ?? 0) + 1;
        counts[index] = got;
        if (role === "time") latencies.push(nowMs() - read());
        if (got < told + 1_000) return;
        least = Math.min(...counts);
        if (role !== "count" || least < told + 1_000) return;
        told = least;
        tell({ seen: least, atMs: nowMs() });
      }),
    );
  }
  orders((order) => {
    if (!("report" in order)) return;
    tell({ count: Math.min(...counts), latencies, dropped: drops.reduce((sum, dropped) => sum + dropped(), 0) });
    latencies.length = 0;
  });
  // A subscription of the engine is in force a little later.
  await Bun.sleep(500);
}
tell({ ready: true });
