import { describe, expect, test } from "bun:test";
import { chmodSync, chownSync, mkdirSync, statSync, symlinkSync } from "node:fs";
import { distrust, trustedRealPath } from "../../src/tasks/trust.ts";
import { startErrorOf } from "../support/start-error.ts";
import { tempFolder } from "../support/temp-folder.ts";

/** Neither root nor the user of the test. */
const strangerUid = (process.geteuid?.() ?? 0) + 12_345;
const isRoot = process.geteuid?.() === 0;

describe("on disk", () => {
  test("a file that only its owner can write is trusted, and its real path returned", () => {
    using folder = tempFolder({ "a.ts": "" });
    symlinkSync(folder.at("a.ts"), folder.at("link.ts"));
    expect(trustedRealPath(folder.at("a.ts"))).toBe(folder.at("a.ts"));
    expect(trustedRealPath(folder.at("link.ts"))).toBe(folder.at("a.ts"));
  });

  for (const mode of [0o664, 0o646, 0o666]) {
    test(`a file of mode 0${mode.toString(8)} is refused, with the command that mends it`, async () => {
      using folder = tempFolder({ "a.ts": "" });
      const path = folder.at("a.ts");
      chmodSync(path, mode);
      expect(await startErrorOf(() => trustedRealPath(path))).toBe(
        `${path} is not safe to run tasks from: others can write it (mode 0${mode.toString(8)}); chmod go-w ${path}`,
      );
    });
  }

  test("a folder that others can write is refused, sticky or not", async () => {
    using folder = tempFolder();
    for (const mode of [0o777, 0o1777]) {
      chmodSync(folder.path, mode);
      expect(await startErrorOf(() => trustedRealPath(folder.path))).toContain(`${folder.path} is not safe`);
    }
  });

  test("a file is refused if others can write a folder above it, for they can replace it", async () => {
    using folder = tempFolder({ "upper/lower/a.ts": "" });
    chmodSync(folder.at("upper"), 0o777);
    const message = await startErrorOf(() => trustedRealPath(folder.at("upper/lower/a.ts")));
    expect(message).toContain(`${folder.at("upper")} is not safe to run tasks from: others can write it (mode 0777)`);
    expect(message).toContain(`others can replace ${folder.at("upper/lower/a.ts")}`);
    expect(message).toEndWith(`chmod go-w ${folder.at("upper")}`);
  });

  test("a folder above may be written by all if it is sticky, as /tmp is", () => {
    using folder = tempFolder({ "upper/a.ts": "" });
    chmodSync(folder.at("upper"), 0o1777);
    expect(trustedRealPath(folder.at("upper/a.ts"))).toBe(folder.at("upper/a.ts"));
  });

  test("behind a symbolic link it is the real file and the folders above it that count", async () => {
    using folder = tempFolder({ "open/a.ts": "", "closed/b.ts": "" });
    chmodSync(folder.at("open"), 0o777);
    symlinkSync(folder.at("open/a.ts"), folder.at("closed/a.ts"));
    expect(await startErrorOf(() => trustedRealPath(folder.at("closed/a.ts")))).toContain(
      `${folder.at("open")} is not safe`,
    );
  });

  test("a file of another user than root and the engine's is refused", async () => {
    using folder = tempFolder({ "a.ts": "" });
    const path = folder.at("a.ts");
    // Root gives the file away; another user, who cannot, asks on behalf of an engine that runs as somebody else.
    if (isRoot) chownSync(path, strangerUid, -1);
    const engineUid = isRoot ? 0 : strangerUid;
    const message = await startErrorOf(() => trustedRealPath(path, engineUid));
    expect(message).toContain(`it belongs to user ${statSync(path).uid}, the engine runs as user ${engineUid}`);
    expect(message).toContain(`chown ${engineUid} ${path}`);
  });

  test("what root owns is trusted by every user", () => {
    expect(trustedRealPath("/", strangerUid)).toBe("/");
  });

  test("a path with spaces stands in the command so that it can be pasted", async () => {
    using folder = tempFolder();
    mkdirSync(folder.at("my tasks"));
    chmodSync(folder.at("my tasks"), 0o777);
    expect(await startErrorOf(() => trustedRealPath(folder.at("my tasks")))).toEndWith(
      `chmod go-w '${folder.at("my tasks")}'`,
    );
  });

  test("a path that is not there is said to be not there", async () => {
    using folder = tempFolder();
    expect(await startErrorOf(() => trustedRealPath(folder.at("none")))).toBe(
      `${folder.at("none")} cannot be read: there is no such file or folder`,
    );
  });
});

describe("by owner and mode", () => {
  const engineUid = 1000;

  test("root and the engine's user are trusted, anybody else is not", () => {
    expect(distrust({ uid: 0, mode: 0o100644 }, "target", engineUid)).toBeNull();
    expect(distrust({ uid: engineUid, mode: 0o100644 }, "target", engineUid)).toBeNull();
    expect(distrust({ uid: 1001, mode: 0o100600 }, "target", engineUid)?.remedy).toBe("chown 1000");
    expect(distrust({ uid: 1001, mode: 0o100644 }, "target", 0)?.remedy).toBe("chown 0");
  });

  test("the owner of a sticky folder above can replace what is in it, so the owner counts there too", () => {
    expect(distrust({ uid: 1001, mode: 0o41777 }, "above", engineUid)).not.toBeNull();
    expect(distrust({ uid: 0, mode: 0o41777 }, "above", engineUid)).toBeNull();
  });
});
