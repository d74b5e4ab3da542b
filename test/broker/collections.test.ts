import { expect, test } from "bun:test";
import fc from "fast-check";
import { Fifo, Multimap } from "../../src/broker/collections.ts";

interface Item {
  readonly id: number;
}

const takeAll = (fifo: Fifo<Item>): number[] => {
  const ids: number[] = [];
  for (let { first } = fifo; first !== undefined; first = fifo.first) {
    ids.push(first.id);
    fifo.remove(first);
  }
  return ids;
};

test("what comes first goes first", () => {
  const fifo = new Fifo<Item>();
  for (let id = 0; id < 5000; id++) fifo.push({ id });
  expect(fifo.length).toBe(5000);
  expect(takeAll(fifo)).toEqual(Array.from({ length: 5000 }, (_, id) => id));
  expect(fifo.length).toBe(0);
  expect(fifo.first).toBeUndefined();
});

test("what is not there cannot be removed", () => {
  const fifo = new Fifo<Item>();
  const item = { id: 1 };
  fifo.remove(item);
  expect(fifo.length).toBe(0);
  fifo.push(item);
  fifo.remove(item);
  fifo.remove(item);
  expect(fifo.length).toBe(0);
  expect(fifo.first).toBeUndefined();
});

test("whatever is done to it, it is what a plain list would be", () => {
  const step = fc.record({ what: fc.constantFrom("push", "insert", "remove", "take"), at: fc.nat(40) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const fifo = new Fifo<Item>();
      const list: Item[] = [];
      for (const [index, { what, at }] of steps.entries()) {
        // Odd ones are inserted later, between the even ones.
        const item = { id: what === "insert" ? 2 * at + 1 : 2 * index };
        const chosen = what === "take" ? list[0] : list[at % Math.max(list.length, 1)];
        if (what === "push") {
          fifo.push(item);
          list.push(item);
        } else if (what === "insert") {
          fifo.insert(item, ({ id }) => id > item.id);
          const place = list.findIndex(({ id }) => id > item.id);
          list.splice(place < 0 ? list.length : place, 0, item);
        } else if (chosen !== undefined) {
          fifo.remove(chosen);
          list.splice(list.indexOf(chosen), 1);
        }
        expect(fifo.length).toBe(list.length);
        expect(fifo.first).toBe(list[0]);
      }
      expect(takeAll(fifo)).toEqual(list.map(({ id }) => id));
    }),
  );
});

test("a multimap keeps no key without values", () => {
  const map = new Multimap<string, number>();
  for (const value of [1, 2, 2]) map.add("a", value);
  map.add("b", 3);
  map.delete("a", 1);
  map.delete("b", 3);
  map.delete("b", 3);
  expect([...map].map(([key, values]) => [key, [...values]])).toEqual([["a", [2]]]);
  map.delete("a", 2);
  expect([...map.keys()]).toEqual([]);
  expect([...map.get("a")]).toEqual([]);
});
