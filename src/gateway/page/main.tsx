/** The page of the gateway: begins to listen, and draws. */
import { render } from "preact";
import { App } from "./app.tsx";
import { goLive, watchOver } from "./live.ts";
import { update, type View, views } from "./store.ts";
import { restoreTheme } from "./theme.tsx";

const readHash = (): void => {
  const [name] = location.hash.slice(1).split("/", 1);
  const view: View = views.find((it) => it === name) ?? "now";
  update({ view });
};

const root = document.getElementById("page");
if (root === null) throw new Error("the page has no place for its content");
restoreTheme();
readHash();
addEventListener("hashchange", readHash);
render(<App />, root);
watchOver();
void goLive();
