// Figures as they are read.

/** "98.3 %"; never a full 100 % or 0 % of what is not. */
export function percent(share) {
  if (!Number.isFinite(share)) return "?";
  if (share > 0.9995 && share < 1) return "> 99.9 %";
  if (share < 0.0005 && share > 0) return "< 0.1 %";
  return `${(100 * share).toFixed(1)} %`;
}

/** "−1.23", with a minus as wide as a digit. */
export function decimal(value, digits = 3) {
  return value.toFixed(digits).replace("-", "−");
}
