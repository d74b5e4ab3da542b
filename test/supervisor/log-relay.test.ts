/** Who is told to send the lines of its log, and where they go. */
import { expect, test } from "bun:test";
import type { SupervisorMessage } from "../../src/process/messages.ts";
import { LogRelay } from "../../src/supervisor/log-relay.ts";

const child = (kind: string) => {
  const told: SupervisorMessage[] = [];
  return { role: { kind }, isBusy: false, told, send: (message: SupervisorMessage) => void told.push(message) };
};
const line = { at: 1, level: "info", text: "hello", job: null } as const;

test("every process but the router sends its lines while the router wants them, a new one, too", () => {
  const [router, worker, late] = [child("router"), child("task worker"), child("data worker")];
  const children = [router, worker];
  const relay = new LogRelay(children, () => router);
  relay.brief(worker);
  relay.watch(true);
  relay.watch(true);
  relay.brief(late);
  children.push(late);
  expect([router.told, worker.told, late.told]).toEqual([
    [],
    [{ type: "watchLog", isWatched: true }],
    [{ type: "watchLog", isWatched: true }],
  ]);
  // Another router has not said yet that it wants them.
  relay.brief(child("router"));
  expect([worker.told.at(-1), late.told.at(-1)]).toEqual(Array(2).fill({ type: "watchLog", isWatched: false }));
});

test("lines go to the router; those that it does not read are counted, and it is told how many", () => {
  const router = child("router");
  const relay = new LogRelay([router], () => router);
  relay.pass("task worker 7", { lines: [line], lost: 0 });
  relay.watch(true);
  relay.pass("task worker 7", { lines: [line], lost: 2 });
  router.isBusy = true;
  relay.pass("task worker 7", { lines: [line, line], lost: 1 });
  router.isBusy = false;
  relay.pass("task worker 8", { lines: [line], lost: 0 });
  relay.watch(false);
  expect(router.told).toEqual([
    { type: "log", process: "task worker 7", lines: [line], lost: 2 },
    { type: "log", process: "task worker 8", lines: [line], lost: 3 },
  ]);
});
