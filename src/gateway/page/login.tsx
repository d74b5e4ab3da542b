/** The login of a person, where the gateway wants a token. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { ask, lineOf, pathOf } from "./api.ts";
import { goLive } from "./live.ts";
import { Card, Failure } from "./parts.tsx";
import { type State, update, useStore } from "./store.ts";
import type { Me } from "./types.ts";

const readMe = ({ me }: State): Me | null => me;

export const Person = (): JSX.Element | null => {
  const me = useStore(readMe);
  if (me === null || !me.tokens || me.name === null) return null;
  const leave = async (): Promise<void> => {
    await ask("POST", pathOf(["logout"]), { body: {} }).catch((error: unknown) =>
      update({ linkFailure: lineOf(error) }),
    );
    location.reload();
  };
  return (
    <button
      type="button"
      class="plain"
      onClick={() => void leave()}
      title={`Rights: ${(me.rights ?? ["all"]).join(" ")}`}
    >
      {me.name}: log out
    </button>
  );
};

export const Login = (): JSX.Element => {
  const [token, setToken] = useState("");
  const [failure, setFailure] = useState<string | null>(null);
  const enter = async (): Promise<void> => {
    setFailure(null);
    try {
      await ask("POST", pathOf(["login"]), { body: { token: token.trim() } });
      update({ needsLogin: false });
      await goLive();
    } catch (error) {
      setFailure(lineOf(error));
    }
  };
  return (
    <Card title="Log in">
      <form
        class="form"
        onSubmit={(event) => {
          event.preventDefault();
          void enter();
        }}
      >
        <label>
          Token
          <input
            type="password"
            autocomplete="current-password"
            required
            value={token}
            onInput={(event) => setToken(event.currentTarget.value)}
          />
        </label>
        <p class="note">
          <code>task-engine token NAME RIGHTS…</code> makes one.
        </p>
        <button type="submit" class="accent">
          Log in
        </button>
        <Failure text={failure} />
      </form>
    </Card>
  );
};
