/** A process that floods a data port with subscriptions, ever the same and ever others: `flood-host.ts ENDPOINT MS`. */
import { rawPeer, subscribing, unsubscribing } from "./raw-peer.ts";

const [endpoint = "", ms = "0"] = process.argv.slice(2);
const endMs = performance.now() + Number(ms);
const burst = 500;

const flood = async (messagesOf: (index: number) => readonly Uint8Array[]): Promise<void> => {
  while (performance.now() < endMs) {
    using subscriber = await rawPeer(endpoint, "SUB");
    for (let sent = 0; subscriber.isOpen && performance.now() < endMs; sent += burst) {
      const indexes = Array.from({ length: burst }, (_, index) => sent + index);
      await subscriber.send(indexes.flatMap(messagesOf));
    }
  }
};

process.stdout.write("flooding\n");
await Promise.all([
  flood(() => [subscribing("same"), unsubscribing("same")]),
  flood((index) => [subscribing(`a topic of which there is no other ${index}`)]),
]);
