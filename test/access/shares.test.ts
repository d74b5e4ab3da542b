import { expect, test } from "bun:test";
import { Shares } from "../../src/access/shares.ts";
import { bytesPerClientMax, jobsPerClientMax } from "../../src/limits.ts";

const from = (who: string) => [Buffer.from(who), Buffer.alloc(0)];

test("nothing is kept of a client that has nothing in flight", () => {
  const shares = new Shares({ jobs: jobsPerClientMax, bytes: bytesPerClientMax });
  const taken = Array.from({ length: 1000 }, (_, index) => shares.take(from(`${index}`), null, 1, 100));
  expect(shares.clients).toBe(1000);
  for (const share of taken) {
    if (typeof share === "string") throw new Error(share);
    shares.release(share, 1, 100);
  }
  expect(shares.clients).toBe(0);
});

test("what would be too much changes nothing", () => {
  const shares = new Shares({ jobs: jobsPerClientMax, bytes: bytesPerClientMax });
  expect(shares.take(from("a"), "laptop", jobsPerClientMax + 1, 1)).toBeString();
  expect(shares.take(from("a"), "laptop", 1, bytesPerClientMax + 1)).toBeString();
  expect(shares.clients).toBe(0);
  expect(shares.take(from("a"), "laptop", jobsPerClientMax, bytesPerClientMax)).toBeObject();
  expect(shares.take(from("b"), "laptop", 1, 0)).toBeString();
});

test("a name is no connection, and connections whose ids look alike are not one", () => {
  const shares = new Shares({ jobs: jobsPerClientMax, bytes: bytesPerClientMax });
  shares.take(from("laptop"), "laptop", jobsPerClientMax, 0);
  expect(shares.take(from("laptop"), null, jobsPerClientMax, 0)).toBeObject();
  expect(shares.take([Buffer.from([0xff])], null, jobsPerClientMax, 0)).toBeObject();
  expect(shares.take([Buffer.from([0xfe])], null, jobsPerClientMax, 0)).toBeObject();
});
