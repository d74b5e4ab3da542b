/** Light, dark, or as the system has it. */
import type { JSX } from "preact";
import { current, remember, remembered, type State, update, useStore } from "./store.ts";

const themes = ["auto", "light", "dark"] as const;
type Theme = State["theme"];

const dark = matchMedia("(prefers-color-scheme: dark)");

const show = (theme: Theme): void => {
  const isDark = theme === "dark" || (theme === "auto" && dark.matches);
  document.documentElement.dataset.theme = isDark ? "dark" : "light";
  update({ theme, isDark });
};

export const restoreTheme = (): void => {
  const kept = remembered("theme");
  show(themes.find((theme) => theme === kept) ?? "auto");
  dark.addEventListener("change", () => show(current().theme));
};

const readTheme = ({ theme }: State): Theme => theme;

export const ThemeButton = (): JSX.Element => {
  const theme = useStore(readTheme);
  const next = themes[(themes.indexOf(theme) + 1) % themes.length] ?? "auto";
  return (
    <button
      type="button"
      class="plain"
      aria-label={`Theme: ${theme}. Change to ${next}`}
      onClick={() => {
        show(next);
        remember("theme", next);
      }}
    >
      {theme === "auto" ? "◐" : theme === "light" ? "☀" : "☾"} {theme}
    </button>
  );
};
