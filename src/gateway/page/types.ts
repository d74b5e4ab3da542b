/** The answers of the gateway's API, as far as the page reads them. GATEWAY.md specifies them. */

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

export interface Me {
  readonly name: string | null;
  /** null where everybody may do everything */
  readonly rights: readonly string[] | null;
  /** Whether this gateway wants a token. */
  readonly tokens: boolean;
}

/** An emergency stop in force; `since` is in seconds since 1970. */
export interface Stop {
  readonly reason: string;
  readonly since: number;
  readonly durable?: boolean | null;
  readonly why?: string | null;
}

interface StatusTask {
  readonly name: string;
  readonly workers: number;
  readonly waiting: number;
  readonly count: number;
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
}

export interface Status {
  readonly draining: boolean;
  readonly security: "curve" | "none" | "insecure";
  readonly stopped: Stop | null;
  readonly jobs: {
    readonly accepted: number;
    readonly done: number;
    readonly retried: number;
    readonly failed: Readonly<Record<string, number>>;
    readonly dropped: Readonly<Record<string, number>>;
    readonly waiting: number;
    readonly held: number;
  };
  readonly queue: { readonly jobs: number; readonly bytes: number };
  readonly tasks: readonly StatusTask[];
  readonly workers: readonly {
    readonly id: string;
    readonly role: string;
    readonly pid: number;
    readonly held: number;
    readonly state: string;
    readonly supervised: boolean;
  }[];
  readonly resources: readonly {
    readonly name: string;
    readonly holder: { readonly task: string; readonly serial: string; readonly state: string } | null;
    readonly waiting: number;
  }[];
  readonly safings: readonly {
    readonly task: string;
    readonly state: string;
    readonly tries: number;
    readonly why: { readonly code: string };
  }[];
  readonly locks: readonly {
    readonly resources: readonly string[];
    readonly task: string;
    readonly since: number;
    readonly why: string;
    readonly remedy: string;
  }[];
  readonly quarantined: readonly {
    readonly task: string;
    readonly since: number;
    readonly deaths: number;
    readonly how: string;
  }[];
  readonly sources: readonly {
    readonly name: string;
    readonly topic: string;
    readonly everyMs: number;
    readonly hz: number | null;
    readonly jitterMs: number | null;
    readonly overruns: number;
    readonly errors: number;
  }[];
}

/** A JSON Schema; any key may be missing, or be of another type than it should. */
export type Schema = { readonly [key: string]: Json };

export interface Task {
  readonly name: string;
  readonly workers: number;
  readonly schema?: { readonly args?: Schema; readonly kwargs?: Schema } | null;
  readonly deadmanMs?: number | null;
}

/** Times are in seconds since 1970. */
export interface Job {
  readonly job: string;
  readonly task: string;
  readonly state: string;
  readonly requestor?: string | null;
  readonly code?: string | null;
  readonly message?: string | null;
  readonly accepted?: number | null;
  readonly started?: number | null;
  readonly ended?: number | null;
  readonly ms?: number | null;
  readonly worker?: string | null;
  readonly progress?: Json;
}

export interface Schedule {
  readonly name: string;
  readonly task: string;
  readonly when: string;
  readonly zone?: string | null;
  readonly next: number | null;
  readonly last: number | null;
  readonly code: string | null;
  readonly skipped?: number | null;
  readonly why?: string | null;
  readonly paused: boolean | number | null;
}

export interface Topic {
  readonly topic: string;
  readonly contentType?: string | null;
  readonly bytes: number;
  readonly hz: number | null;
  readonly ageMs: number | null;
  readonly stale?: boolean | null;
  readonly publisher?: string | null;
}

/** A value of a topic: JSON as `data`, else its type and size. */
export interface Value {
  readonly topic: string;
  readonly data?: Json;
  readonly contentType?: string;
  readonly bytes?: number;
  /** seconds since 1970 */
  readonly pack: number;
}

export interface LogLine {
  readonly at: number;
  readonly level: string;
  readonly process?: string | null;
  readonly task?: string | null;
  readonly job?: string | null;
  readonly text: string;
}
