// Whether the page is used by finger, and what its keys are called.

const coarse = matchMedia("(pointer: coarse)");

/** One of two hints: for a finger, or for a pointer and keys. */
export function hint(finger, keys) {
  return coarse.matches ? finger : keys;
}

/** The key that runs together with Enter. */
export function modifierKey() {
  const platform =
    navigator.userAgentData?.platform ?? navigator.platform ?? "";
  return /mac|iphone|ipad/i.test(platform) ? "⌘" : "Ctrl";
}
