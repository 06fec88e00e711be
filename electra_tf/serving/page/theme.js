// Light or dark: as the system has it, until someone chooses.

const KEY = "electra_tf.theme";
const system = matchMedia("(prefers-color-scheme: dark)");

function remembered() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null; // storage may be forbidden
  }
}

function remember(theme) {
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // then it holds until the page is left
  }
}

function set(theme) {
  document.documentElement.dataset.theme = theme;
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : system.matches;
}

/** Makes a button switch between light and dark. */
export function attachThemeButton(button) {
  const label = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute(
      "aria-label",
      isDark() ? "Use light colours" : "Use dark colours",
    );
  };
  button.addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    set(theme);
    remember(theme);
    label();
  });
  system.addEventListener("change", label);
  label();
}

// At once, before the page is painted.
const chosen = remembered();
if (chosen === "light" || chosen === "dark") set(chosen);
