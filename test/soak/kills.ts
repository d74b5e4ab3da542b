/**
 * 200 workers killed by SIGKILL under load: each job is answered exactly once, and none begins twice.
 * Not a part of `bun test`, which does the same with 12: `bun test ./test/soak/kills.ts` runs it, and the gate does.
 * KILLS=50 kills fewer.
 */
import { test } from "bun:test";
import { killUnderLoad } from "../support/kills.ts";

const kills = Number(process.env.KILLS ?? 200);
/** So many, since a worker that dies again and again is started ever later: the others are to die meanwhile. */
const workers = 16;

test(`${kills} workers killed under load lose no job and answer none twice`, async () => {
  await killUnderLoad(kills, workers);
}, 400_000);
