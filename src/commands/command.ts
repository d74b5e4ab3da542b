/** What a verb is: citty's form of it, of which a verb that runs needs the types alone. */
import type { ArgsDef, CommandDef } from "citty";

/** Gives `run` the types of its arguments. (citty's own would have every verb load citty, and that Node's `util`.) */
export const defineCommand = <const Args extends ArgsDef>(command: CommandDef<Args>): CommandDef<Args> => command;
