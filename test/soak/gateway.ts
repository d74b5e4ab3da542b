/** Fuzzes the gateway from its own description for `SECONDS` (60), with `SEED` where one is given. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { startServed } from "../support/gateway.ts";
import { fuzz } from "../support/gateway-fuzz.ts";

const seconds = Number(process.env.SECONDS ?? 60);
const first = Number(process.env.SEED ?? 1 + Math.floor(Math.random() * 1_000_000));
setDefaultTimeout(seconds * 1000 + 120_000);

test("no request that fits the gateway's description, or does not, makes it fail", async () => {
  await using served = await startServed({}, { anna: "send read write observe manage control" });
  const [pid] = served.engine.pidsOf("gateway");
  for (let seed = first, endMs = performance.now() + seconds * 1000; performance.now() < endMs; seed++) {
    try {
      await fuzz(served, served.tokens.anna ?? "", { rounds: 10, seed });
    } catch (error) {
      throw new Error(`SEED=${seed} bun test ./test/soak/gateway.ts replays it`, { cause: error });
    }
  }
  expect(served.engine.pidsOf("gateway")).toEqual([pid ?? 0]);
});
