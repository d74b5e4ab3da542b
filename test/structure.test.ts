import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { arrows, circleIn, importsOf, loadedWith, type SourceFile, violationsIn } from "./support/structure.ts";

const root = join(import.meta.dir, "..");
const src = join(root, "src");
const files: SourceFile[] = [...new Bun.Glob("**/*.{ts,tsx}").scanSync(src)]
  .sort()
  // The transpiler does not take the `#!` of a script.
  .map((path) => ({ path, text: readFileSync(join(src, path), "utf8").replace(/^#!.*/, "") }));

test("imports run only along the arrows of the design", () => {
  expect(files.length).toBeGreaterThan(20);
  const violations = files.flatMap(violationsIn);
  expect(violations).toEqual([]);
});

test("imports go in no circle, types included", () => {
  expect(circleIn(files)).toBeNull();
});

test("CONTRIBUTING.md shows the arrows, and the diagram that the broker's state has", () => {
  const page = readFileSync(join(root, ".github/CONTRIBUTING.md"), "utf8");
  const rows = [...page.matchAll(/^\| `([\w.]+)\/?` +\|[^|]*\|([^|]*)\|$/gm)].map(([, room = "", imports = ""]) => [
    room,
    [...imports.matchAll(/`([\w.]+)`/g)].map(([, name]) => name),
  ]);
  const withoutLimits = Object.entries(arrows).map(([room, imports]) => [
    room,
    imports.filter((name) => name !== "limits.ts"),
  ]);
  expect(rows).toEqual(withoutLimits);
  const diagram = /```\n(accepted ─►.*?)```/s.exec(page)?.[1] ?? "";
  expect(diagram).not.toBe("");
  const state = readFileSync(join(src, "broker/state.ts"), "utf8").replace(/^ \* {5}/gm, "");
  expect(state).toContain(diagram);
  expect(readFileSync(join(src, "protocol/PROTOCOL.md"), "utf8")).toContain(diagram);
});

test("every file that CONTRIBUTING.md names is there", () => {
  const page = readFileSync(join(root, ".github/CONTRIBUTING.md"), "utf8");
  const named = [...page.matchAll(/`((?:src|test)\/[\w./-]+)`/g)].map(([, path = ""]) => path);
  expect(named.length).toBeGreaterThan(40);
  expect(named.filter((path) => !path.includes("NAME") && !existsSync(join(root, path)))).toEqual([]);
});

// `node:net`, `node:crypto` and `node:os` cost each process 0.1 to 0.5 MiB, also where nobody calls them.
test("a process that always runs loads no module that it can do without", () => {
  const cheap = /^(?:bun:ffi|node:(?:fs|fs\/promises|path|module|async_hooks)|valibot|citty|consola\/core)$/;
  for (const entry of [
    ...["commands/serve.ts", "commands/roles.ts", "commands/run.ts"],
    ...["router/router.ts", "worker/task-worker.ts", "data/data-worker.ts"],
  ]) {
    const loaded = loadedWith(files, entry);
    expect(loaded.length).toBeGreaterThan(0);
    expect({ entry, dear: loaded.filter((name) => !cheap.test(name)) }).toEqual({ entry, dear: [] });
  }
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
    ["protocol/frames.ts", 'import { errno } from "../transport/zmq/library.ts";', "from protocol to transport"],
    ["transport/zmq/socket.ts", 'import type { Meta } from "../../protocol/frames.ts";', "from transport to protocol"],
    ["client/client.ts", 'export * from "../broker/broker.ts";', "no arrow runs from client to broker"],
    ["client/client.ts", 'export { run } from "../tasks/task.ts";', "no arrow runs from client to tasks"],
    [
      "supervisor/children.ts",
      'import {\n  type Meta,\n} from "../protocol/frames.ts";',
      "from supervisor to protocol",
    ],
    ["main.ts", 'const late = async () => await import("./router/router.ts");', "no arrow runs from main.ts to router"],
    ["limits.ts", 'import "./transport/libc.ts";', "no arrow runs from limits.ts to transport"],
    ["broker/broker.ts", 'import { readFileSync } from "node:fs";', "a pure part knows only what is pure"],
    ["broker/queue.ts", 'import { say } from "../process/log.ts";', "a pure part knows only what is pure"],
    ["broker/queue.ts", "export const now = () => Date.now();", "uses Date.now"],
    ["broker/queue.ts", "export const now = () => new Date();", "uses new Date"],
    [
      "broker/queue.ts",
      'import { onLeaveRequest } from "../process/supervised.ts";\nonLeaveRequest(() => {});',
      "knows only what is pure",
    ],
    ["supervisor/restart-policy.ts", "setTimeout(() => 1, 2);", "uses setTimeout"],
    ["tasks/count.ts", 'import { createContext } from "./task.ts";\ncreateContext();', "more than types"],
    ["tasks/task.ts", 'import x from "../../test/support/x.ts";', "outside src"],
    ["helpers/misc.ts", "", "no room for it"],
    ["gateway/page/app.tsx", 'import type { Meta } from "../../protocol/frames.ts";', "the page imports only itself"],
    ["gateway/page/app.tsx", 'import { answer } from "../routes.ts";', "the page imports only itself"],
  ];
  for (const [path, text, complaint] of wrong) {
    test(`sees what is wrong with ${JSON.stringify(text)} in ${path}`, () => {
      expect(violationsIn({ path, text }).join("\n")).toContain(complaint);
    });
  }

  test("finds nothing wrong with what the design allows", () => {
    const right: SourceFile[] = [
      {
        path: "router/router.ts",
        text: 'import { Router } from "../transport/zmq/socket.ts";\nexport const at = Date.now();',
      },
      { path: "broker/queue.ts", text: '// Date.now() is for the shell\nimport { queueJobsMax } from "../limits.ts";' },
      { path: "tasks/count.ts", text: 'import type { TaskFunction } from "./task.ts";' },
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
      'import {\n  e,\n  type F,\n} from "../process/log.ts";',
    ].join("\n");
    expect(importsOf({ path: "client/x.ts", text }).sort()).toEqual(
      ["client/a.ts", "client/b.ts", "client/c.ts", "client/d.ts", "process/log.ts"].sort(),
    );
  });

  test("sees a circle, also where only types go back", () => {
    const there = { path: "a/a.ts", text: 'import { b } from "./b.ts"; b();' };
    const circle = ["a/a.ts", "a/b.ts", "a/a.ts"];
    expect(circleIn([there, { path: "a/b.ts", text: 'import { a } from "./a.ts"; a();' }])).toEqual(circle);
    expect(circleIn([there, { path: "a/b.ts", text: 'import type { a } from "./a.ts";' }])).toEqual(circle);
    expect(circleIn([there, { path: "a/b.ts", text: "export const b = 1;" }])).toBeNull();
  });
});
