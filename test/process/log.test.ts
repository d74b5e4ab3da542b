import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import fc from "fast-check";
import { printable } from "../../src/process/streams.ts";

setDefaultTimeout(60_000); // on a busy machine

/** Any characters; most are from where the controls are. */
const codePoint = fc.oneof(fc.nat(0x20ff), fc.nat(0x10ffff));
const anyText = fc.array(codePoint, { maxLength: 50 }).map((points) => String.fromCodePoint(...points));
const control = /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/u;

test("text of a stranger's making is one line, of which a terminal obeys nothing", () => {
  expect(printable("a\nb\r\u001b[2J\u0007\u009b1m")).toBe("a\\x0ab\\x0d\\x1b[2J\\x07\\x9b1m");
  expect(printable("a\u2028b\u202ec\u2066d")).toBe("a\\u2028b\\u202ec\\u2066d");
  expect(printable("Grüße, 机器人 🤖")).toBe("Grüße, 机器人 🤖");
});

test("whatever it is, there is no control character left, and what is none is as it was", () => {
  fc.assert(
    fc.property(anyText, (text) => {
      const shown = printable(text);
      // Marks of direction are part of how some languages are written; they move nothing but themselves.
      expect(control.test(shown.replace(/[\u061c\u200e\u200f]/g, ""))).toBe(false);
      if (!control.test(text)) expect(shown).toBe(text);
    }),
  );
});

test("what is said waits for who does not read, within a bound; what is beyond that is lost by whole lines, and counted", async () => {
  const lines = Array.from({ length: 60_000 }, (_, index) => `line ${index} ${"x".repeat(100)}`);
  const talker = `
    import { say, warn } from ${JSON.stringify(join(import.meta.dir, "../../src/process/log.ts"))};
    import { stdout } from ${JSON.stringify(join(import.meta.dir, "../../src/process/streams.ts"))};
    for (let index = 0; index < ${lines.length}; index++) say("line " + index + " " + "x".repeat(100));
    warn("said");
    await stdout.write("read\\n");
    say("last");
  `;
  // Its reader begins to read when it is told to.
  const pipe = `exec 3<&0; "$0" -e "$1" < /dev/null | { read -r _ <&3; cat; }`;
  await using child = Bun.spawn(["sh", "-c", pipe, process.execPath, talker], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "pipe",
  });
  const { value } = await child.stderr.getReader().read();
  expect(new TextDecoder().decode(value)).toBe("said\n");
  child.stdin.write("\n");
  child.stdin.end();
  const output = (await child.stdout.text()).trimEnd().split("\n");
  const [read, lost = "", last] = output.splice(-3);
  expect({ read, last }).toEqual({ read: "read", last: "last" });
  expect(lost).toMatch(/^\(\d+ lines are lost here: nobody has read\)$/);
  const lostCount = Number(lost.match(/\d+/)?.[0]);
  expect(lostCount).toBeGreaterThan(0);
  expect(output).toEqual(lines.slice(0, lines.length - lostCount));
});
