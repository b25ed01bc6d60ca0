// Numbers for eyes.

const BINARY = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
const DECIMAL = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];

/** Three significant digits at most, without trailing zeros. */
function short(value) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 1e-3 || size >= 1e15) return value.toExponential(1).replace("e+", "e");
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
  return String(+value.toFixed(digits));
}

function binary(value) {
  let unit = 0;
  let left = value;
  while (Math.abs(left) >= 1024 && unit < BINARY.length - 1) {
    left /= 1024;
    unit += 1;
  }
  return `${short(left)} ${BINARY[unit]}`;
}

function decimal(value) {
  for (const [factor, unit] of DECIMAL) {
    if (Math.abs(value) >= factor) return short(value / factor) + unit;
  }
  return short(value);
}

function seconds(value) {
  const size = Math.abs(value);
  if (size === 0) return "0 s";
  if (size < 1e-6) return `${short(value * 1e9)} ns`;
  if (size < 1e-3) return `${short(value * 1e6)} µs`;
  if (size < 1) return `${short(value * 1e3)} ms`;
  if (size < 120) return `${short(value)} s`;
  if (size < 7200) return `${short(value / 60)} min`;
  if (size < 172800) return `${short(value / 3600)} h`;
  return `${short(value / 86400)} d`;
}

const UNITS = {
  number: decimal,
  bytes: binary,
  bytesPerSecond: (v) => `${binary(v)}/s`,
  perSecond: (v) => `${decimal(v)}/s`,
  percent: (v) => `${short(v)} %`,
  seconds,
};

/** `value` in `unit`, or a dash where there is none. */
export function show(value, unit = "number") {
  if (value === null || value === undefined) return "–";
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "−Inf";
  return (UNITS[unit] ?? decimal)(value);
}

/** The number and its unit apart, for big type. */
export function parts(value, unit) {
  const text = show(value, unit);
  const split = text.match(/^([−-]?[\d.]+(?:e-?\d+)?)\s*(.*)$/);
  return split ? [split[1], split[2]] : [text, ""];
}

/** A series as PromQL writes it. */
export function seriesName(labels) {
  const { __name__: name = "", ...others } = labels;
  const inside = Object.entries(others).map(([k, v]) => `${k}=${JSON.stringify(v)}`).join(", ");
  return inside || !name ? `${name}{${inside}}` : name;
}

/** Marks of a time axis, `step` seconds apart: as much as tells them apart. */
export function tick(at, step) {
  const time = new Date(at * 1000);
  const midnight = time.getHours() === 0 && time.getMinutes() === 0 && time.getSeconds() === 0;
  if (step >= 86400 || midnight) return time.toLocaleDateString([], { month: "short", day: "numeric" });
  const two = (n) => String(n).padStart(2, "0");
  const clock = `${two(time.getHours())}:${two(time.getMinutes())}`;
  return step < 60 ? `${clock}:${two(time.getSeconds())}` : clock;
}

/** Steps between marks that are round in binary units. */
export const BINARY_STEPS = Array.from({ length: 50 }, (_, i) => 2 ** i);

export function showTime(at) {
  return new Date(at * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "medium" });
}
