/** What libzmq needs of the system beside the C library, and how that is said where it is not there. */
import { StartError } from "../../transport/start-error.ts";

/** Each with the package that has it on Debian and Raspberry Pi OS. */
const packages: Readonly<Record<string, string>> = { "libgcc_s.so.1": "libgcc-s1", "libstdc++.so.6": "libstdc++6" };

/** In one line for a person: which library cannot be loaded, and what to do. @param failure of dlopen(3) */
export const notLoaded = (failure: unknown): StartError => {
  const said = (failure instanceof Error ? failure.message : String(failure)).replace(
    /^Failed to open library "[^"]*": /,
    "",
  );
  const missing = /^(\S+): cannot open shared object file: No such file/.exec(said)?.[1] ?? "";
  const package_ = packages[missing];
  if (package_ !== undefined) {
    return new StartError(
      `this program needs ${missing}, which this system lacks; install it: apt install ${package_}`,
    );
  }
  const old = /version `((?:GLIBC|GLIBCXX|CXXABI|GCC)_[\d.]+)' not found/.exec(said)?.[1];
  if (old === undefined) return new StartError(`libzmq cannot be loaded: ${said.split("\n")[0]}`);
  return new StartError(
    `this system is too old for this program: it has no ${old}, which glibc 2.25 and GCC 6 brought`,
  );
};
