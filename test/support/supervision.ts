/** A supervisor, or a process that it starts, by its first argument: `host` with a plan, or `role` with a behaviour. */
if (process.argv[2] === "role") await import("./role.ts");
else await import("./supervisor-host.ts");
