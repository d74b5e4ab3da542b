import { expect, test } from "bun:test";
import fc from "fast-check";
import { printable } from "../src/log.ts";

test("text of a stranger's making is one line, of which a terminal obeys nothing", () => {
  expect(printable("a\nb\r\u001b[2J\u0007\u009b1m")).toBe("a\\x0ab\\x0d\\x1b[2J\\x07\\x9b1m");
  expect(printable("a\u2028b\u202ec\u2066d")).toBe("a\\u2028b\\u202ec\\u2066d");
  expect(printable("Grüße, 机器人 🤖")).toBe("Grüße, 机器人 🤖");
});

test("whatever it is, there is no control character left, and what is none is as it was", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 50 }), (text) => {
      const shown = printable(text);
      // Marks of direction are part of how some languages are written; they move nothing but themselves.
      expect(shown.replace(/[\u061c\u200e\u200f]/g, "")).not.toMatch(/[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/u);
      if (!/[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/u.test(text)) expect(shown).toBe(text);
    }),
  );
});
