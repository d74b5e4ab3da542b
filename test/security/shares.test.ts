import { expect, test } from "bun:test";
import { bytesPerClientMax, jobsPerClientMax } from "../../src/limits.ts";
import { Shares } from "../../src/security/shares.ts";

test("nothing is kept of a client that has nothing in flight", () => {
  const shares = new Shares({ jobs: jobsPerClientMax, bytes: bytesPerClientMax });
  const taken = Array.from({ length: 1000 }, (_, index) => shares.take(`${index}`, null, 1, 100));
  expect(shares.clients).toBe(1000);
  for (const share of taken) {
    if (typeof share === "string") throw new Error(share);
    shares.release(share, 1, 100);
  }
  expect(shares.clients).toBe(0);
});

test("what would be too much changes nothing", () => {
  const shares = new Shares({ jobs: jobsPerClientMax, bytes: bytesPerClientMax });
  expect(shares.take("a", "laptop", jobsPerClientMax + 1, 1)).toBeString();
  expect(shares.take("a", "laptop", 1, bytesPerClientMax + 1)).toBeString();
  expect(shares.clients).toBe(0);
  expect(shares.take("a", "laptop", jobsPerClientMax, bytesPerClientMax)).toBeObject();
  expect(shares.take("b", "laptop", 1, 0)).toBeString();
});

test("a name is no connection, be it called the same", () => {
  const shares = new Shares({ jobs: jobsPerClientMax, bytes: bytesPerClientMax });
  shares.take("laptop", "laptop", jobsPerClientMax, 0);
  expect(shares.take("laptop", null, jobsPerClientMax, 0)).toBeObject();
  expect(shares.take("laptop", null, 1, 0)).toBeString();
  expect(shares.take("phone", null, 1, 0)).toBeObject();
});
