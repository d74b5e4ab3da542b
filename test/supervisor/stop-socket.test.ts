import { expect, test } from "bun:test";
import { stopConnectionsMax, stopLineBytesMax, stopReasonLengthMax } from "../../src/limits.ts";
import { StopSocket, stopBySocket } from "../../src/supervisor/stop-socket.ts";
import { tempFolder } from "../support/temp-folder.ts";

const patience = (): AbortSignal => AbortSignal.timeout(10_000);

/** A socket that notes the reasons it hears. */
const openSocket = (path: string) => {
  const reasons: string[] = [];
  const stop = async (reason: string) => {
    reasons.push(reason);
    return { reason, since: 1, durable: true };
  };
  const socket = new StopSocket(path, false, stop, async () => ({ tasks: 1 }));
  return { reasons, [Symbol.dispose]: () => socket.close() };
};

/** Says something, and nothing more; what comes back until the end. */
const say = async (path: string, text: string, isOver = false): Promise<string> => {
  const { promise, resolve } = Promise.withResolvers<string>();
  let said = "";
  const socket = await Bun.connect({
    unix: path,
    socket: {
      data: (_, bytes) => {
        said += bytes.toString();
      },
      close: () => resolve(said),
    },
  });
  socket.write(text);
  if (isOver) socket.shutdown();
  return promise;
};

test("a line that says estop stops, with the rest of the line as the reason", async () => {
  using folder = tempFolder();
  const path = folder.at("stop.sock");
  using socket = openSocket(path);
  expect(await stopBySocket(path, "smoke\nand  fire", patience())).toEqual({
    reason: "smoke and fire",
    since: 1,
    durable: true,
  });
  expect(await say(path, "estop\n")).toBe('{"reason":"","since":1,"durable":true}\n');
  expect(await say(path, "estop by a shell", true)).toBe('{"reason":"by a shell","since":1,"durable":true}\n');
  expect(await say(path, `estop ${"x".repeat(stopLineBytesMax)}`)).toContain(`"${"x".repeat(stopReasonLengthMax)}"`);
  expect(socket.reasons).toHaveLength(4);
});

test("nothing else stops anything", async () => {
  using folder = tempFolder();
  const path = folder.at("stop.sock");
  using socket = openSocket(path);
  for (const line of ["\n", "stop\n", "ESTOP\n", "x".repeat(stopLineBytesMax), "\0\xff\n"]) {
    expect(await say(path, line)).toBe("error: say `estop REASON`\n");
  }
  expect(await say(path, "", true)).toBe("error: say `estop REASON`\n");
  expect(socket.reasons).toEqual([]);
});

test("connections that say nothing keep nobody out", async () => {
  using folder = tempFolder();
  const path = folder.at("stop.sock");
  using _ = openSocket(path);
  let closed = 0;
  const silent = await Promise.all(
    Array.from({ length: 3 * stopConnectionsMax }, () =>
      Bun.connect({ unix: path, socket: { data: () => undefined, close: () => void closed++ } }),
    ),
  );
  expect((await stopBySocket(path, "now", patience())).reason).toBe("now");
  expect(closed).toBeGreaterThanOrEqual(2 * stopConnectionsMax);
  for (const socket of silent) socket.terminate();
});

test("a socket that was left behind is taken over", async () => {
  using folder = tempFolder();
  const path = folder.at("stop.sock");
  const script = `Bun.listen({ unix: ${JSON.stringify(path)}, socket: { data() {} } }); process.kill(process.pid, "SIGKILL");`;
  Bun.spawnSync([process.execPath, "-e", script]);
  await expect(stopBySocket(path, "", patience())).rejects.toThrow(`no engine listens at ${path} (ECONNREFUSED)`);
  using _ = openSocket(path);
  expect((await stopBySocket(path, "now", patience())).reason).toBe("now");
});

test("who asks where nobody listens, or nobody answers, is told so", async () => {
  using folder = tempFolder();
  const path = folder.at("stop.sock");
  await expect(stopBySocket(path, "", patience())).rejects.toThrow(`no engine listens at ${path} (ENOENT)`);
  const deaf = Bun.listen({ unix: path, socket: { data: () => undefined } });
  await expect(stopBySocket(path, "", AbortSignal.timeout(100))).rejects.toThrow(`no answer at ${path} in time`);
  deaf.stop(true);
});
