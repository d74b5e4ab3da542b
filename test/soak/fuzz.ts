/**
 * 1,000,000 mutated messages at all ports of a real engine: none crashes a process, changes a prototype or is kept for good.
 * Not a part of `bun test`: `bun test ./test/soak/fuzz.ts` runs it. MESSAGES=20000 sends fewer, SECONDS=60 as many as go in
 * that time (the gate does that), SEED=7 the same ones again.
 */
import { expect, test } from "bun:test";
import { decodeFromRouter, decodeFromWorker } from "../../src/protocol/backend.ts";
import { decodeReply } from "../../src/protocol/replies.ts";
import { decodeRequest } from "../../src/protocol/requests.ts";
import { Random } from "../broker/simulation/random.ts";
import { Asker } from "../support/asker.ts";
import { Attacker } from "../support/attacker.ts";
import { startEngine } from "../support/engine.ts";
import { hasPython, python } from "../support/manager.ts";
import { memoryMib } from "../support/proc.ts";
import { tempFolder } from "../support/temp-folder.ts";

const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 32));
const seconds = process.env.SECONDS === undefined ? Number.POSITIVE_INFINITY : Number(process.env.SECONDS);
const messages = Number(process.env.MESSAGES ?? (Number.isFinite(seconds) ? Number.POSITIVE_INFINITY : 1_000_000));
/** messages between two looks whether all has been read and everybody lives. */
const roundMessages = 1_000;
/** messages after which buffers, compiled code and tables have their size. */
const warmUpMessages = 20_000;
/**
 * MiB that a process may have more at the end than after the warm-up. What the engine may keep by its limits of what is sent
 * here (4,096 topics with the last value of each, up to 64 MiB, and their copies on the way), and as much again for what
 * the collector has not taken yet. A leak of 300 bytes a message would be beyond it.
 */
const growthMibMax = 256;

const prototypeKeys = `
  export const task_prototypes = () =>
    [Object, Array, Function, String, Map, Promise].flatMap((type) => Reflect.ownKeys(type.prototype).map(String));
`;
const ownPrototypes = (): string[] =>
  [Object, Array, Function, String, Map, Promise].flatMap((type) => Reflect.ownKeys(type.prototype).map(String));

/** Said by another reader than the engine's: the keys that are written, and those that are left. Of objects without escapes. */
const hasRepeatedKey = (frame: Uint8Array): boolean => {
  const keys = Object.keys(JSON.parse(Buffer.from(frame).toString()));
  const top = new Map<string, number>();
  let depth = 0;
  for (const [token, key] of Buffer.from(frame)
    .toString()
    .matchAll(/"((?:[^"\\]|\\.)*)"(?=\s*:)|"(?:[^"\\]|\\.)*"|[[\]{}]/g)) {
    if (token === "{" || token === "[") depth++;
    else if (token === "}" || token === "]") depth--;
    else if (key !== undefined && depth === 1) top.set(JSON.parse(token), (top.get(JSON.parse(token)) ?? 0) + 1);
  }
  return keys.length !== top.size || [...top.values()].some((count) => count > 1);
};

test("no mutated message crashes a process, changes a prototype or is kept for good", async () => {
  const replay = `SEED=${seed} MESSAGES=${messages} bun test ./test/soak/fuzz.ts`;
  using folder = tempFolder({
    "tasks/prototypes.ts": prototypeKeys,
    "tasks/echo.py": "def task_echo(*args, **kwargs):\n    return [args, kwargs]\n",
  });
  const flags = ["--tasks", folder.at("tasks"), "--python", python];
  await using engine = await startEngine({ cwd: folder.path, flags });
  const pids = engine.childPids;
  const random = new Random(seed);
  let sent = 0;
  try {
    using asker = new Asker(engine.endpoint);
    const prototypes = await asker.ask("prototypes");
    const ownBefore = ownPrototypes();
    let memoryBefore: number[] = [];
    const endMs = performance.now() + seconds * 1000;
    {
      using attacker = new Attacker(engine.ports, random);
      while (sent < messages && performance.now() < endMs) {
        for (let count = Math.min(roundMessages, messages - sent); count > 0; count--) {
          const frames = attacker.sendOne();
          for (const decode of [decodeReply, decodeFromWorker, decodeFromRouter]) decode(frames);
          if (decodeRequest(frames).kind !== "bad")
            for (const frame of frames) expect(hasRepeatedKey(frame)).toBe(false);
          sent++;
        }
        await attacker.allRead();
        expect(engine.childPids).toEqual(pids);
        if (memoryBefore.length === 0 && sent >= warmUpMessages) memoryBefore = pids.map(memoryMib);
      }
    }
    const memoryAfter = pids.map(memoryMib);
    const growth = memoryAfter.map((mib, index) => Math.round(mib - (memoryBefore[index] ?? 0)));
    process.stdout.write(`${sent} messages, MiB at the end: ${memoryAfter.map(Math.round)}, growth: ${growth}\n`);
    if (memoryBefore.length > 0) expect(Math.max(...growth)).toBeLessThan(growthMibMax);
    expect(ownPrototypes()).toEqual(ownBefore);
    // Of both workers, whoever gets it.
    for (let time = 0; time < 10; time++) expect(await asker.ask("prototypes")).toEqual(prototypes);
    const answer = await engine.run("send", "count", "2", "3", "--router", engine.endpoint);
    expect(answer).toMatchObject({ exitCode: 0, stdout: "5\n" });
    if (hasPython) expect(await asker.ask("echo")).toEqual({ result: [[], {}] });
    expect(engine.childPids).toEqual(pids);
  } catch (error) {
    throw new Error(
      `after ${sent} messages; the line that does it again:\n  ${replay}\n${engine.errorLines.slice(-20).join("\n")}`,
      {
        cause: error,
      },
    );
  }
}, 3_600_000);
