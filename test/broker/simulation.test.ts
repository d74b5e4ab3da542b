/**
 * The whole engine, simulated around the real broker. `SEED=48213 bun test simulation` replays one seed,
 * `SEEDS=10000 bun test simulation` runs that many.
 */
import { expect, test } from "bun:test";
import { World } from "./simulation/world.ts";

const seedsDefault = 120;
const { SEED, SEEDS } = process.env;
const first = SEED === undefined ? 1 : Number(SEED);
const count = SEED === undefined ? Number(SEEDS ?? seedsDefault) : 1;

test(
  "whatever dies, every request is answered once and rightly, and nothing runs that must not",
  () => {
    let answered = 0;
    for (let seed = first; seed < first + count; seed++) {
      try {
        using world = new World(seed);
        answered += world.run().answered;
      } catch (error) {
        const what = error instanceof Error ? error.message : String(error);
        throw new Error(`${what}; replay it with: SEED=${seed} bun test simulation`, { cause: error });
      }
    }
    expect(answered).toBeGreaterThan(count);
  },
  60_000 + count * 1000,
);

test("one seed gives one course of events", () => {
  using one = new World(7);
  using other = new World(7);
  expect(one.run()).toEqual(other.run());
});
