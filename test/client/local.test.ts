/** Which way a client goes to an engine on its own machine. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { connect } from "task-engine";
import { localRequestorsMax } from "../../src/limits.ts";
import { localName } from "../../src/local/name.ts";
import { dial } from "../../src/local/unix.ts";
import { libc } from "../../src/zmq/libc.ts";
import { startEngine } from "../support/engine.ts";
import { handRouter } from "../support/hand-router.ts";
import { socketsOf } from "../support/local-sockets.ts";
import { freePorts } from "../support/ports.ts";
import { until } from "../support/stoppable.ts";
import { tempFolder } from "../support/temp-folder.ts";

const client = join(import.meta.dir, "../../src/client/client.ts");

/** Asks in a process of its own; says also whether libzmq is in that. */
const script = `
  import { readFileSync } from "node:fs";
    import { connect } from ${JSON.stringify(client)};
  const engine = connect(process.argv[2]);
  const result = await engine.call("count", [2, 3]);
  console.log(result, readFileSync("/proc/self/maps", "utf8").includes("addon.node"));
  await engine.close();
`;

test("a client on the engine's own machine needs no libzmq, neither to its router nor to a worker's port, and any other does", async () => {
  await using engine = await startEngine();
  using folder = tempFolder({ "ask.ts": script });
  using other = handRouter();
  void other.serve((arrived) => arrived.ack(5));
  const ask = async (endpoint: string): Promise<string> =>
    (await Bun.spawn([process.execPath, folder.at("ask.ts"), endpoint]).stdout.text()).trim();
  expect(await ask(engine.endpoint)).toBe("5 false");
  expect(await ask(`tcp://localhost:${engine.ports.frontend}`)).toBe("5 false");
  expect(await ask(`tcp://127.0.0.1:${engine.ports.worker}`)).toBe("5 false");
  expect(await ask(other.endpoint)).toBe("5 true");
});

test("a router that was started anew is found past libzmq again, and nothing is left of a client that has gone", async () => {
  await using engine = await startEngine();
  const port = engine.ports.frontend;
  const asking = connect(engine.endpoint);
  expect(await asking.call("count", [2, 3])).toBe(5);
  expect(socketsOf(port)).toEqual({ listening: 1, connected: 2 });
  const [router = 0] = engine.pidsOf("router");
  process.kill(router, "SIGKILL");
  await until("there is another", () => engine.pidsOf("router").some((pid) => pid !== router));
  expect(await asking.call("count", [3, 4], {}, { waitMs: 20_000 })).toBe(7);
  expect(socketsOf(port)).toEqual({ listening: 1, connected: 2 });
  await asking.close();
  await until("nothing is left", () => socketsOf(port).connected === 0);
});

test("who finds no room past libzmq goes by the port", async () => {
  await using engine = await startEngine();
  const port = engine.ports.frontend;
  const lines = Array.from({ length: localRequestorsMax }, () => dial(localName("127.0.0.1", port)));
  await until("all are there", () => socketsOf(port).connected === 2 * localRequestorsMax);
  await using asking = connect(engine.endpoint);
  expect(await asking.call("count", [2, 3])).toBe(5);
  expect(socketsOf(port).connected).toBe(2 * localRequestorsMax);
  for (const line of lines) {
    libc.close(line?.messages ?? -1);
    libc.close(line?.bell ?? -1);
  }
});

for (const [whose, offset, who] of [
  ["the router's", 0, "the router's frontend"],
  ["a worker's", 2, "a task worker"],
] as const) {
  test(`an engine does not start where somebody else has the name of ${whose} port, and says so in one line`, async () => {
    const first = freePorts(5);
    const taken = Bun.listen({ unix: localName("127.0.0.1", first + offset), socket: { data: () => undefined } });
    const failure = await startEngine({ first }).catch((error: Error) => error.message);
    expect(failure).toContain(
      `${who} cannot use 127.0.0.1:${first + offset}: the Unix socket of that name is taken; stop what uses it`,
    );
    taken.stop(true);
  });
}
