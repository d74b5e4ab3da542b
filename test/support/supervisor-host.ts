/** Runs a Supervisor whose roles are those of role.ts. Its argument, after `host`, is a `Plan`. */
import { say } from "../../src/process/log.ts";
import { ownProgram } from "../../src/process/program.ts";
import type { Role } from "../../src/supervisor/roles.ts";
import { onSignals } from "../../src/supervisor/signals.ts";
import { Supervisor } from "../../src/supervisor/supervisor.ts";
import type { Plan } from "./supervise.ts";

const plan = JSON.parse(process.argv[3] ?? "") as Plan;
const behaviours: Readonly<Record<string, string | undefined>> = {
  scan: plan.scan ?? "list",
  router: plan.router ?? "good",
  first: plan.first ?? "good",
  second: plan.second,
  source: plan.source ?? "good",
  journal: plan.journal ?? "good",
  gateway: plan.gateway,
  safe: plan.hook ?? "safe well",
};
const role = (kind: Role["kind"], name: string): Role => ({ kind, name, argv: [], takesEnv: kind !== "router" });

const supervisor = new Supervisor({
  roles: {
    scan: role("scan", "scan"),
    router: role("router", "router"),
    workers: [role("task worker", "first"), ...(plan.second === undefined ? [] : [role("data worker", "second")])],
    source: role("source worker", "source"),
    journal: role("journal", "journal"),
    gateway: plan.gateway === undefined ? null : role("gateway", "gateway"),
    link: null,
    safe: role("safe", "safe"),
    python: {
      folder: { tasks: null, tasksIfAny: null },
      interpreter: null,
      socket: "",
      scan: role("scan", "scan"),
      workers: [],
      source: role("source worker", "source"),
      safe: role("safe", "safe"),
    },
    hook: plan.hook === undefined ? null : "count",
  },
  restartRules: { restartsMax: plan.restartsMax ?? 5, restartWindowMs: 60_000 },
  graceMs: plan.graceMs ?? 10_000,
  env: plan.env ?? {},
  readyLine: "Ready",
  safety: {
    folder: process.env.TASK_ENGINE_STATE ?? "",
    isPrivate: plan.isPrivate ?? false,
    stopGraceMs: plan.stopGraceMs ?? 2_000,
  },
  commandOf: ({ kind, name, argv }) => [
    ...ownProgram(),
    "role",
    behaviours[name] ?? "",
    kind,
    plan.marker ?? "",
    ...argv,
  ],
  onlineMs: plan.onlineMs ?? 30_000,
  terminateMs: plan.terminateMs ?? 10_000,
});
onSignals({ stop: () => supervisor.stop(), reload: () => supervisor.reload() });
say(`Outcome: ${JSON.stringify(await supervisor.run())}`);
process.exit(0);
