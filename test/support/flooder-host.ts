/**
 * A client that floods an engine: `bun flooder-host.ts ENDPOINT TASK`, a process of its own. A line on stdin turns it on, the next one
 * off; it sends as fast as its socket takes it meanwhile. Prints a line when it begins to get answers, and one with
 * how many it got when each that it has sent has one.
 */
import { createInterface } from "node:readline";
import { Dealer } from "../../src/zmq/socket.ts";
import { json, metaFrame } from "./raw-requestor.ts";

const [, , endpoint = "", task = ""] = process.argv;
const socket = new Dealer();
socket.connect(endpoint);
const body = json({ task, args: [], kwargs: {}, pack: 1 });
/** requests between two looks at what has come. */
const burst = 64;

let isOn = false;
let sent = 0;
let answered = 0;
let heard = Promise.withResolvers<void>();

socket.onReadable(() => {
  for (let frames = socket.tryReceive(); frames !== null; frames = socket.tryReceive()) answered++;
  heard.resolve();
});

const sendBurst = (): boolean => {
  for (let count = 0; count < burst; count++) {
    const meta = metaFrame({ version: 0.2, serial: `flood-${sent}` });
    if (socket.trySend(["", meta, body]) !== "sent") return false;
    sent++;
  }
  return true;
};

/** Answers come in between. */
const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

const flood = async (): Promise<void> => {
  heard = Promise.withResolvers();
  void heard.promise.then(() => process.stdout.write("floods\n"));
  while (isOn) await (sendBurst() ? turn() : Bun.sleep(1));
  while (answered < sent) await Bun.sleep(1);
  process.stdout.write(`${answered} answered\n`);
};

for await (const _ of createInterface({ input: process.stdin })) {
  isOn = !isOn;
  if (isOn) void flood();
}
process.exit(0);
