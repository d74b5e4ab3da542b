/** The tasks that the engine brings with it. Each module has exactly the form of a file in a user's tasks folder. */
import * as count from "./count.ts";

/** File name → what it exports. */
export const builtInModules: Readonly<Record<string, object>> = { "count.ts": count };
