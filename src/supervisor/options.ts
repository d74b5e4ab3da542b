/** What a supervisor is given, and what comes of it. */
import type { Keyring } from "./keyring.ts";
import type { RestartRules } from "./policy.ts";
import type { Role, Roles } from "./roles.ts";

export interface SupervisorOptions {
  readonly roles: Roles;
  readonly restartRules: RestartRules;
  /** ms that running jobs may take to finish at a stop. */
  readonly graceMs: number;
  /** Variables for the roles that take them, beside those that every child is given. */
  readonly env: Readonly<Record<string, string>>;
  /** Said last in a start. */
  readonly readyLine: string;
  /** Called when it is ready, at the begin of a reload, ready again, and when it begins to stop. */
  readonly onState?: (state: EngineState) => void;
  /** Keys for everything that binds and connects; null, or none given, for an engine without. */
  readonly keyring?: Keyring | null;
  readonly safety: SafetyOptions;
  readonly commandOf?: (role: Role) => readonly string[];
  readonly onlineMs?: number;
  readonly terminateMs?: number;
}

export interface SafetyOptions {
  /** What must outlive the engine: absolute path of a folder of its own. */
  readonly folder: string;
  /** Whether no other user of the machine may stop the robot. */
  readonly isPrivate: boolean;
  /** ms that running jobs may take to let go at an emergency stop. */
  readonly stopGraceMs: number;
}

export type EngineState = "ready" | "reloading" | "stopping";

export type Outcome =
  /** It was told to stop, and has. */
  | { readonly type: "stopped" }
  /** It was told twice, and has killed what was left. */
  | { readonly type: "killed" }
  /** It could not start or not go on; `reason` is one line for a person. */
  | { readonly type: "failed"; readonly reason: string };
