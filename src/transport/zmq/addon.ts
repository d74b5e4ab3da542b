/**
 * Path of libzmq: the prebuilt addon of the `zeromq` package, which exports libzmq's whole C API.
 * `build.ts` replaces this module by one with the copy that the executable carries.
 */
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

/** The build that needs the oldest C library (glibc 2.25), so that the Pi's is new enough. */
export const addonInPackage = (arch: string): string => `build/linux/${arch}/node/glibc-127-Release/addon.node`;

export const addonPath: string = join(
  dirname(createRequire(import.meta.url).resolve("zeromq/package.json")),
  addonInPackage(process.arch),
);
