/** A process that has run out of file descriptors. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { Dealer } from "../../../src/transport/zmq/socket.ts";
import { connectMany, until } from "../../support/connections.ts";
import { openFiles, processorShare } from "../../support/proc.ts";

setDefaultTimeout(60_000); // on a busy machine

const host = join(import.meta.dir, "../../support/receiver-host.ts");
const descriptors = 128;

test("a process whose descriptors are used up serves those it has, does not spin, and takes others in once it can", async () => {
  await using process = Bun.spawn(
    ["sh", "-c", `ulimit -n ${descriptors}; exec ${globalThis.process.execPath} ${host}`],
    {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    },
  );
  const lines = process.stdout.values();
  const nextLine = async (): Promise<string> => new TextDecoder().decode((await lines.next()).value).trimEnd();
  const endpoint = await nextLine();
  using early = new Dealer();
  early.connect(endpoint);
  early.trySend(["early"]);
  expect(await nextLine()).toBe("early");
  using late = new Dealer({ linger: 0 });
  {
    await using _crowd = await connectMany(Number(endpoint.split(":").at(-1)), descriptors);
    await until("no new connections", async () => {
      const before = openFiles(process.pid);
      await Bun.sleep(1000);
      return openFiles(process.pid) === before && before > descriptors / 2;
    });
    // Left to libzmq, it is a whole processor.
    expect(await processorShare(process.pid, 1000)).toBeLessThan(0.5);
    early.trySend(["still there"]);
    expect(await nextLine()).toBe("still there");
    late.connect(endpoint);
    late.trySend(["late"]);
  }
  expect(await nextLine()).toBe("late");
  process.kill("SIGKILL");
  expect(await process.stderr.text()).toMatch(/^Process \[\d+\] has almost 128 files and connections open.*\n$/);
}, 60_000);
