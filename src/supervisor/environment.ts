/** The environment of a child: built here from what it needs, never the one that the supervisor was given. */
import { isUnsafeVariable } from "../config.ts";

type Environment = Readonly<Record<string, string | undefined>>;

const inherited = /^(PATH|HOME|USER|LOGNAME|LANG|LC_[A-Z]+|TZ|TERM|XDG_RUNTIME_DIR|TMPDIR)$/;

/** @param extra of the configuration's `[env]`; it wins over what is inherited, and unsafe names are left out of it too */
export const childEnvironment = (given: Environment, extra: Environment): Record<string, string> => {
  const environment: Record<string, string> = {};
  const take = (variables: Environment, isWanted: (name: string) => boolean): void => {
    for (const [name, value] of Object.entries(variables)) {
      if (value !== undefined && isWanted(name)) environment[name] = value;
    }
  };
  take(given, (name) => inherited.test(name));
  take(extra, (name) => !isUnsafeVariable(name));
  return environment;
};
