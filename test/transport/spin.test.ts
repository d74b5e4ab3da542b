import { expect, setDefaultTimeout, test } from "bun:test";
import { Spin } from "../../src/transport/spin.ts";

setDefaultTimeout(60_000); // on a busy machine

/** A processor that somebody else keeps for so many ms whenever it is given away; by itself that takes a thousandth. */
const shared = () => {
  const processor = {
    ms: 0,
    keptMs: 0.001,
    yields: 0,
    now: () => processor.ms,
    yield: () => {
      processor.ms += processor.keptMs;
      processor.yields++;
    },
  };
  const spin = new Spin(processor);
  return {
    processor,
    /** How often it looked for what comes after so many ms, and whether it has seen it. */
    waitFor: (ms: number): { seen: boolean; looks: number; tookMs: number } => {
      const startedAt = processor.ms;
      let looks = 0;
      const isThere = (): boolean => {
        looks++;
        return processor.ms >= startedAt + ms;
      };
      const seen = spin.sees(isThere);
      return { seen, looks, tookMs: processor.ms - startedAt };
    },
  };
};

const never = Number.POSITIVE_INFINITY;

test("what is there is seen at once, and what comes soon as soon as it comes, each time", () => {
  const { waitFor, processor } = shared();
  expect(waitFor(0)).toEqual({ seen: true, looks: 1, tookMs: 0 });
  expect(processor.yields).toBe(0);
  for (let count = 0; count < 100; count++) expect(waitFor(0.1).seen).toBe(true);
});

test("what does not come is not waited for long, and after that for a while not at all", () => {
  const { waitFor, processor } = shared();
  const { seen, tookMs } = waitFor(never);
  expect(seen).toBe(false);
  expect(tookMs).toBeLessThan(0.6);
  expect(waitFor(0)).toEqual({ seen: false, looks: 0, tookMs: 0 });
  processor.ms += 2;
  expect(waitFor(0.1).seen).toBe(true);
  expect(waitFor(0.1).seen).toBe(true);
});

/** How often it looks in ten seconds, when it is asked each tenth of a ms. @param comesMs what is waited for comes after that */
const triesIn10s = ({ waitFor, processor }: ReturnType<typeof shared>, comesMs: number): number => {
  const endAt = processor.ms + 10_000;
  let tries = 0;
  while (processor.ms < endAt) {
    if (waitFor(comesMs).looks > 0) tries++;
    processor.ms += 0.1;
  }
  return tries;
};

test("where nothing comes soon it is tried less and less, and again each time once it does", () => {
  const bench = shared();
  expect(triesIn10s(bench, never)).toBeLessThan(200);
  bench.processor.ms += 100;
  expect(triesIn10s(bench, 0.05)).toBeGreaterThan(60_000);
});

test("where others want the processor they are given it about once a second, and where they are gone it is tried each time", () => {
  const bench = shared();
  bench.processor.keptMs = 4;
  expect(triesIn10s(bench, 0.05)).toBeLessThan(30);
  bench.processor.keptMs = 0.001;
  bench.processor.ms += 1_000;
  expect(triesIn10s(bench, 0.05)).toBeGreaterThan(60_000);
});
