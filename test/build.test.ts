import { expect, test } from "bun:test";
import { join } from "node:path";
import { buildExecutable } from "../build.ts";

const build = (...args: string[]) => Bun.spawnSync([process.execPath, join(import.meta.dir, "../build.ts"), ...args]);

test("a target that does not exist is refused in one line that names those that do, before anything is built", () => {
  const { exitCode, stdout, stderr } = build("linux-x64", "windows-x64");
  expect(exitCode).toBe(2);
  expect(stdout.toString()).toBe("");
  expect(stderr.toString()).toBe('build: unknown target "windows-x64"; the targets are linux-arm64 and linux-x64\n');
});

test("a build that cannot be written down fails", async () => {
  await expect(buildExecutable("linux-x64", "/dev/null/dist")).rejects.toThrow("/dev/null");
});
