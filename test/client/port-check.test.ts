/** What a request comes to where there is no engine, or something else in its place. */
import { afterAll, describe, expect, setDefaultTimeout } from "bun:test";
import { connect, type TaskEngineError } from "task-engine";
import { warn } from "../../src/process/log.ts";
import { writeCertificate } from "../../src/security/certificate.ts";
import { Gate } from "../../src/security/gate.ts";
import { Router } from "../../src/transport/zmq/socket.ts";
import { test } from "../support/concurrent.ts";
import { handRouter, untilFree } from "../support/hand-router.ts";
import { makeKeys } from "../support/keys.ts";
import { freePorts } from "../support/ports.ts";
import { rejection } from "../support/rejection.ts";
import { tempFolder } from "../support/temp-folder.ts";

setDefaultTimeout(60_000); // they wait for one another

const nowhere = (): string => `tcp://127.0.0.1:${freePorts(1)}`;

/** How a request ends, and the endpoint's part of its message taken out. */
const problemAt = async (endpoint: string, options: object = {}): Promise<string> => {
  await using client = connect(endpoint, { key: "none", ...options });
  const { code, message }: TaskEngineError = await rejection(client.call("count", [1, 2]));
  expect(code).toBe("NO_ANSWER");
  return message.replace(endpoint, "THERE");
};

test("where nobody listens every kind of request fails at once, and says what to do", async () => {
  const endpoint = nowhere();
  await using client = connect(endpoint);
  const requests = [
    client.call("count"),
    client.tasks(),
    client.get("pose"),
    client.publish("pose", 1, { confirm: true }),
  ];
  for (const request of [...requests, client.estop(), client.subscribe("pose").next()]) {
    expect(await rejection(request)).toMatchObject({
      code: "NO_ANSWER",
      message: `no connection to ${endpoint}: nobody listens there (ECONNREFUSED); start the engine (task-engine serve), or check the port, or wait for one that is starting: --wait MS (waitMs in a program)`,
    });
  }
  const [part] = await client.map("count", [[1, 2]]);
  expect(part?.error?.code).toBe("NO_ANSWER");
  // A later one is held up by nothing that was found before.
  using router = handRouter(endpoint);
  const sum = client.call("count", [1, 2]);
  (await router.next()).ack(3);
  expect(await sum).toBe(3);
});

test("a client that is told how long to wait waits for an engine that is starting, and says in the end why none came", async () => {
  const endpoint = nowhere();
  await using client = connect(endpoint, { waitMs: 30_000 });
  const sum = client.call("count", [1, 2]);
  await Bun.sleep(150);
  using router = handRouter(endpoint);
  (await router.next()).ack(3);
  expect(await sum).toBe(3);
  expect(await problemAt(nowhere(), { waitMs: 200 })).toMatch(
    /^no answer from THERE within 200 ms: nobody listens there \(ECONNREFUSED\)/,
  );
});

test("a client that was connected once waits for its engine to come back", async () => {
  let router = handRouter();
  const { endpoint } = router;
  await using client = connect(endpoint);
  const first = rejection(client.call("count", [1, 2]));
  await router.next();
  router[Symbol.dispose]();
  expect((await first).code).toBe("INTERRUPTED");
  const later = client.call("count", [3, 4]);
  await Bun.sleep(150);
  router = await untilFree(() => handRouter(endpoint));
  using _ = router;
  (await router.next()).ack(7);
  expect(await later).toBe(7);
});

test("an address that leads nowhere is told at once, by what the system says of it", async () => {
  expect(await problemAt(`tcp://${"x".repeat(64)}:9000`)).toMatch(
    /^no connection to THERE: the name x+ leads to no IPv4/,
  );
  // The address of everybody, to which no connection can be made.
  expect(await problemAt("tcp://255.255.255.255:9000")).toMatch(
    /: there is no route to it \(E[A-Z]+\); check the address/,
  );
});

describe("in an engine's place", () => {
  const servers: { stop(): unknown }[] = [];
  afterAll(() => servers.forEach((server) => void server.stop()));
  const listener = (open: (socket: Bun.Socket) => void): string => {
    const server = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { open, data: () => undefined } });
    servers.push({ stop: () => server.stop(true) });
    return `tcp://127.0.0.1:${server.port}`;
  };

  test("an HTTP server is named by what it says, whether one is to wait or not", async () => {
    const http = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response("hello") });
    servers.push(http);
    for (const options of [{}, { waitMs: 30_000 }]) {
      expect(await problemAt(`tcp://127.0.0.1:${http.port}`, options)).toMatch(
        /^no connection to THERE: another program listens there, which sends "HTTP\/1.1 400 Bad Request"; name/,
      );
    }
  });

  test("what else says something is named, without its control characters", async () => {
    const said = await problemAt(listener((socket) => void socket.write("SSH-2.0-\u001b[2J\r\nmore")));
    expect(said).toContain('which sends "SSH-2.0-?[2J"; name');
  });

  test("what closes the connection, and what says nothing, is told", async () => {
    expect(await problemAt(listener((socket) => void socket.end()))).toContain("closes the connection at once");
    expect(
      await problemAt(
        listener(() => undefined),
        { waitMs: 900 },
      ),
    ).toMatch(/^no answer from THERE within 900 ms: the listener there sends nothing/);
  });

  test("an engine with keys where the client has none, and one without where it has, is told at once", async () => {
    const { engine, laptop, security } = makeKeys();
    using gate = new Gate(security, warn);
    using keyed = new Router(gate.serverOptions);
    keyed.bind("tcp://127.0.0.1:*");
    expect(await problemAt(keyed.lastEndpoint)).toContain("the engine there has keys; name its own and yours by");
    using folder = tempFolder();
    writeCertificate(folder.path, "engine", engine, false);
    writeCertificate(folder.path, "laptop", laptop, false);
    const keys = { serverKey: folder.at("engine.key"), key: folder.at("laptop.key_secret") };
    using router = handRouter();
    expect(await problemAt(router.endpoint, keys)).toContain("the engine there has no keys; use none (--key none");
  });
});
