import { expect, test } from "bun:test";
import { encodeBackend, type RouterHeader } from "../../src/protocol/backend.ts";
import { Router } from "../../src/transport/zmq/socket.ts";
import { BackendLink } from "../../src/worker/backend-link.ts";

test("a worker that is not admitted gives up what it holds, and is welcome when it is admitted later", async () => {
  using router = new Router();
  router.bind("tcp://127.0.0.1:*");
  let given = 0;
  const welcome = Promise.withResolvers<void>();
  const link = new BackendLink({
    endpoint: router.lastEndpoint,
    keys: {},
    ready: { type: "READY", role: "task", id: "TASK-1", pid: 1, tasks: ["grip"], endpoint: "" },
    tag: "[TEST]",
    onWelcome: welcome.resolve,
    onWork: () => undefined,
    onLost: () => given++,
  });
  try {
    const [key = new Uint8Array(0)] = await router.receive();
    const say = (header: RouterHeader) => router.trySend([key, ...encodeBackend(header)]);
    const refusal = {
      type: "REFUSED",
      code: "UNAUTHORIZED",
      message: "client arm lacks the right worker:grip",
    } as const;
    say(refusal);
    // Whatever it says next, it is not known.
    say({ type: "WHO" });
    const [, again] = await router.receive();
    expect(JSON.parse(Buffer.from(again ?? []).toString())).toMatchObject({ type: "READY", tasks: ["grip"] });
    expect(given).toBe(1);
    say({ type: "WELCOME" });
    await welcome.promise;
  } finally {
    link.close();
  }
});
