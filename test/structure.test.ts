import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { circleIn, importsOf, type SourceFile, violationsIn } from "./support/structure.ts";

const root = join(import.meta.dir, "..");
const src = join(root, "src");
const files: SourceFile[] = [...new Bun.Glob("**/*.ts").scanSync(src)]
  .sort()
  // The transpiler does not take the `#!` of a script.
  .map((path) => ({ path, text: readFileSync(join(src, path), "utf8").replace(/^#!.*/, "") }));

test("imports run only along the arrows of the design", () => {
  expect(files.length).toBeGreaterThan(20);
  expect(files.flatMap(violationsIn)).toEqual([]);
});

test("no imports go in a circle", () => {
  expect(circleIn(files)).toBeNull();
});

/** Nothing but rows, one after the other: it may be as long as there are rows. */
const tables = ["limits.ts"];

test("no source file has more than 300 lines, but for a table", () => {
  const long = files.filter(({ path, text }) => !tables.includes(path) && text.trimEnd().split("\n").length > 300);
  expect(long.map(({ path }) => path)).toEqual([]);
});

test.skipIf(Bun.which("git") === null || !existsSync(join(root, ".git")))(
  "at the top there is what the design names, hidden files, and nothing else",
  () => {
    const { stdout, success } = Bun.spawnSync(["git", "ls-files"], { cwd: root });
    expect(success).toBe(true);
    const top = new Set(
      stdout
        .toString()
        .trim()
        .split("\n")
        .map((path) => path.split("/")[0] ?? ""),
    );
    const allowed =
      "package.json tsconfig.json bunfig.toml src test build.ts README.md bun.lock LICENSE CONTRIBUTING.md".split(" ");
    expect([...top].filter((name) => !name.startsWith(".") && !allowed.includes(name))).toEqual([]);
  },
);

describe("the checker", () => {
  const wrong: readonly (readonly [path: string, text: string, complaint: string])[] = [
    ["wire/frames.ts", 'import { errno } from "../zmq/library.ts";', "no arrow runs from wire to zmq"],
    ["zmq/socket.ts", 'import type { Meta } from "../wire/frames.ts";', "no arrow runs from zmq to wire"],
    ["client/client.ts", 'export * from "../router/broker.ts";', "no arrow runs from client to router"],
    ["client/client.ts", 'export { run } from "../worker/task.ts";', "no arrow runs from client to worker"],
    ["supervisor/children.ts", 'import {\n  type Meta,\n} from "../wire/frames.ts";', "from supervisor to wire"],
    ["main.ts", 'const late = async () => await import("./router/router.ts");', "no arrow runs from main.ts to router"],
    ["limits.ts", 'import "./zmq/library.ts";', "no arrow runs from limits.ts to zmq"],
    ["router/broker.ts", 'import { readFileSync } from "node:fs";', "a pure part knows only what is pure"],
    ["router/queue.ts", 'import { say } from "../log.ts";', "a pure part knows only what is pure"],
    ["router/queue.ts", "export const now = () => Date.now();", "uses Date.now"],
    ["router/queue.ts", "export const now = () => new Date();", "uses new Date"],
    ["router/queue.ts", 'import { onStop } from "../lifecycle.ts";\nonStop(() => {});', "knows only what is pure"],
    ["supervisor/policy.ts", "setTimeout(() => 1, 2);", "uses setTimeout"],
    ["tasks/count.ts", 'import { createContext } from "../worker/task.ts";\ncreateContext();', "more than types"],
    ["worker/task.ts", 'import x from "../../test/support/x.ts";', "outside src"],
    ["helpers/misc.ts", "", "no room for it"],
  ];
  for (const [path, text, complaint] of wrong) {
    test(`sees what is wrong with ${JSON.stringify(text)} in ${path}`, () => {
      expect(violationsIn({ path, text }).join("\n")).toContain(complaint);
    });
  }

  test("finds nothing wrong with what the design allows", () => {
    const right: SourceFile[] = [
      { path: "router/router.ts", text: 'import { Router } from "../zmq/socket.ts";\nexport const at = Date.now();' },
      { path: "router/queue.ts", text: '// Date.now() is for the shell\nimport { queueJobsMax } from "../limits.ts";' },
      { path: "tasks/count.ts", text: 'import type { TaskFunction } from "../worker/task.ts";' },
      { path: "main.ts", text: 'import { version } from "../package.json" with { type: "json" };' },
    ];
    expect(right.flatMap(violationsIn)).toEqual([]);
  });

  test("reads type-only, re-exporting, bare, lazy and many-line imports", () => {
    const text = [
      'import type { A } from "./a.ts";',
      'export { b } from "./b.ts";',
      'import "./c.ts";',
      'const d = () => import("./d.ts");',
      'import {\n  e,\n  type F,\n} from "../log.ts";',
    ].join("\n");
    expect(importsOf({ path: "client/x.ts", text }).sort()).toEqual(
      ["client/a.ts", "client/b.ts", "client/c.ts", "client/d.ts", "log.ts"].sort(),
    );
  });

  test("sees a circle, and none where only types go back", () => {
    const there = { path: "a/a.ts", text: 'import { b } from "./b.ts"; b();' };
    expect(circleIn([there, { path: "a/b.ts", text: 'import { a } from "./a.ts"; a();' }])).toEqual([
      "a/a.ts",
      "a/b.ts",
      "a/a.ts",
    ]);
    expect(circleIn([there, { path: "a/b.ts", text: 'import type { a } from "./a.ts";' }])).toBeNull();
  });
});
