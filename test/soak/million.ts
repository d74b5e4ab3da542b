/**
 * 1,000,000 tasks through a real engine in one run: none is lost, none is answered twice, each answer is right.
 * Not a part of `bun test`, since it takes a minute or two: `bun test ./test/soak/million.ts` runs it, and the gate does.
 * TASKS=20000 runs fewer.
 */
import { expect, test } from "bun:test";
import { startEngine } from "../support/engine.ts";
import { dealerTo, metaFrame, readReply, taskFrame } from "../support/raw-requestor.ts";

const tasks = Number(process.env.TASKS ?? 1_000_000);
const inFlightMax = 1_000;

test(`${tasks} tasks lose none and answer none twice`, async () => {
  await using engine = await startEngine();
  using requestor = dealerTo(engine.endpoint);
  const answered = new Uint8Array(tasks);
  let sent = 0;
  let received = 0;
  let wrong = 0;
  const done = Promise.withResolvers<void>();
  const send = (): void => {
    requestor.send("", metaFrame({ version: 0.2, serial: String(sent) }), taskFrame([sent, 7]));
    sent++;
  };
  requestor.socket.onReadable(() => {
    for (let frames = requestor.socket.tryReceive(); frames !== null; frames = requestor.socket.tryReceive()) {
      const { meta, data } = readReply(frames);
      const index = Number(meta.serial);
      if (meta.type !== "ACK" || data !== index + 7) wrong++;
      answered[index] = (answered[index] ?? 0) + 1;
      received++;
      if (sent < tasks) send();
    }
    if (received >= tasks) done.resolve();
  });
  while (sent < Math.min(inFlightMax, tasks)) send();
  await done.promise;
  // What was answered twice would still be on its way.
  await Bun.sleep(200);
  expect({ received, wrong, once: answered.filter((count) => count === 1).length }).toEqual({
    received: tasks,
    wrong: 0,
    once: tasks,
  });
}, 600_000);
