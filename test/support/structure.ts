/** Which part of the program may know which: the arrows of the design, and a checker that finds what runs against them. */
import { posix } from "node:path";

/** A source file, its path relative to `src/`. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
}

/**
 * Each room and the rooms that it may import from, besides itself: from top to bottom, never up. A file of no folder is a room
 * of its own.
 */
export const arrows: Readonly<Record<string, readonly string[]>> = {
  "main.ts": ["commands", "process", "transport", "limits.ts"],
  commands: [
    "config.ts",
    "client",
    "gateway",
    "link",
    "router",
    "worker",
    "tasks",
    "python",
    "data",
    "journal",
    "supervisor",
    "systemd",
    "process",
    "security",
    "protocol",
    "transport",
    "limits.ts",
  ],
  "config.ts": ["process", "security", "limits.ts"],
  // It publishes by the code that workers publish by.
  client: ["data", "security", "protocol", "transport", "limits.ts"],
  // It is one more client of the public protocol, as if it ran on another machine.
  gateway: ["client", "security", "protocol", "limits.ts"],
  // A client of the engine and of NATS, as if it ran on another machine.
  link: ["client", "security", "protocol", "limits.ts"],
  router: ["broker", "python", "process", "security", "protocol", "transport", "limits.ts"],
  // Pure: it knows no socket, clock, file or log.
  broker: ["security", "protocol", "limits.ts"],
  worker: ["tasks", "data", "process", "security", "protocol", "transport", "limits.ts"],
  tasks: ["process", "protocol", "transport", "limits.ts"],
  // What starts task_engine.py. Its files are held to the rules of task files.
  python: ["tasks", "process", "security", "transport", "limits.ts"],
  data: ["process", "security", "protocol", "transport", "limits.ts"],
  journal: ["process", "protocol", "transport", "limits.ts"],
  // It knows roles, argv and exit codes, and no message of the public protocol.
  supervisor: ["config.ts", "python", "process", "security", "transport", "limits.ts"],
  // It knows what starts the engine, and nothing of the engine.
  systemd: ["process", "security", "transport", "limits.ts"],
  process: ["security", "protocol", "transport", "limits.ts"],
  security: ["protocol", "transport", "limits.ts"],
  protocol: ["limits.ts"],
  transport: ["limits.ts"],
  "limits.ts": [],
};

/** The pure parts. */
const isPure = (path: string): boolean =>
  path.startsWith("protocol/") ||
  path.startsWith("broker/") ||
  ["supervisor/restart-policy.ts", "security/access.ts", "security/shares.ts", "security/rights.ts"].includes(path);

/** The program that browsers run. */
const page = "gateway/page/";

/** Beside each other, all that pure parts may import. */
const pureImports = ["limits.ts", "valibot"];

/** What a pure part that decides may not ask for; it is told. (`protocol` stamps its frames with the time, and decides nothing.) */
const surroundings =
  /\b(?:Date\.now|new Date(?!\([^)])|performance\.|setTimeout|setInterval|setImmediate|Math\.random|crypto\.|process\.|Bun\.(?!hash)|fetch\()/;

/** The package's entry hands on the types of a task, for those who write one; types alone, so nothing is loaded. */
const isPublicType = ({ path, text }: SourceFile, imported: string): boolean =>
  path === "client/client.ts" && imported === "tasks/task.ts" && !loadsOf({ path, text }).includes(imported);

const importPatterns = [
  /^\s*(?:import|export)\s[^"';]*?\bfrom\s*"([^"]+)"/gm,
  /^\s*import\s*"([^"]+)"/gm,
  /\bimport\(\s*"([^"]+)"/g,
];

const transpilers = { ts: new Bun.Transpiler({ loader: "ts" }), tsx: new Bun.Transpiler({ loader: "tsx" }) };

const transpilerOf = (path: string): Bun.Transpiler => transpilers[path.endsWith(".tsx") ? "tsx" : "ts"];

/** All that a file imports, types too; its own files as paths relative to `src/`. */
export const importsOf = ({ path, text }: SourceFile): string[] => {
  const imports = new Set(loadsOf({ path, text }));
  for (const pattern of importPatterns) {
    for (const [, specifier = ""] of text.matchAll(pattern)) imports.add(resolved(path, specifier));
  }
  return [...imports];
};

/** What a file loads when it runs, which leaves out types. */
const loadsOf = ({ path, text }: SourceFile): string[] =>
  transpilerOf(path)
    .scanImports(text)
    .map((found) => resolved(path, found.path));

/** The modules outside of `src/` that are loaded with a file, before any code runs. */
export const loadedWith = (files: readonly SourceFile[], entry: string): string[] => {
  const texts = new Map(files.map(({ path, text }) => [path, text]));
  const loaded = new Set<string>();
  const visit = (path: string): void => {
    if (loaded.has(path)) return;
    loaded.add(path);
    const text = texts.get(path);
    if (text === undefined) return;
    for (const found of transpilerOf(path).scanImports(text)) {
      if (found.kind !== "dynamic-import") visit(resolved(path, found.path));
    }
  };
  visit(entry);
  return [...loaded].filter((path) => !texts.has(path) && !path.startsWith("."));
};

const resolved = (path: string, specifier: string): string =>
  specifier.startsWith(".") ? posix.join(posix.dirname(path), specifier) : specifier;

const roomOf = (path: string): string => path.split("/")[0] ?? path;

const isOwnFile = (path: string): boolean => Object.hasOwn(arrows, roomOf(path));

/** One line for each thing in one file that is against the design. */
export const violationsIn = (file: SourceFile): string[] => {
  const { path, text } = file;
  const room = roomOf(path);
  const allowed = arrows[room];
  if (allowed === undefined) return [`${path}: the design has no room for it`];
  const violations: string[] = [];
  for (const imported of importsOf(file)) {
    if (isOwnFile(imported)) {
      if (roomOf(imported) !== room && !allowed.includes(roomOf(imported)) && !isPublicType(file, imported)) {
        violations.push(`${path} imports ${imported}: no arrow runs from ${room} to ${roomOf(imported)}`);
      }
    } else if (imported.startsWith("..") && !(imported === "../package.json" && path === "main.ts")) {
      violations.push(`${path} imports ${imported}, which is outside src`);
    }
    if (path.startsWith(page) && isOwnFile(imported) && !imported.startsWith(page)) {
      violations.push(`${path} imports ${imported}: the page imports only itself, for it runs in a browser`);
    }
    if (isPure(path) && !isPure(imported) && !pureImports.includes(imported)) {
      violations.push(`${path} imports ${imported}: a pure part knows only what is pure`);
    }
  }
  const code = transpilerOf(path).transformSync(text); // without comments and types
  const asked = isPure(path) && room !== "protocol" ? surroundings.exec(code) : null;
  if (asked !== null) violations.push(`${path} uses ${asked[0]}: a pure part is told what it needs to know`);
  if (path === "tasks/count.ts" && loadsOf(file).length > 0) {
    violations.push(`${path} imports more than types: a task must load from any folder, like a user's own`);
  }
  return violations;
};

/** The first circle of imports, types included, as a list of paths, or null. */
export const circleIn = (files: readonly SourceFile[]): string[] | null => {
  const edges = new Map(files.map((file) => [file.path, importsOf(file)]));
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]): string[] | null => {
    if (trail.includes(path)) return [...trail.slice(trail.indexOf(path)), path];
    if (done.has(path)) return null;
    for (const next of edges.get(path) ?? []) {
      const circle = visit(next, [...trail, path]);
      if (circle !== null) return circle;
    }
    done.add(path);
    return null;
  };
  for (const path of edges.keys()) {
    const circle = visit(path, []);
    if (circle !== null) return circle;
  }
  return null;
};
