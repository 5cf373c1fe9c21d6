/** Numbers and times for people. Sizes have binary units, as file systems count. */

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
const STEP = 1024;

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 3 });

export function bytes(size: number): string {
  let value = size;
  let unit = 0;
  while (value >= STEP && unit < UNITS.length - 1) {
    value /= STEP;
    unit += 1;
  }
  return `${unit === 0 ? whole.format(value) : short.format(value)} ${UNITS[unit]}`;
}

export function rate(bytesPerSecond: number): string {
  return `${bytes(bytesPerSecond)}/s`;
}

export function count(value: number): string {
  return whole.format(value);
}

const dateTime = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/** A time of the API (`2026-01-31T12:00:00+00:00`), in the reader's zone. */
export function time(text: string): string {
  return dateTime.format(new Date(text.replace(" ", "T")));
}

const thisYear = new Intl.DateTimeFormat(undefined, {
  month: "short",
  day: "numeric",
  hour: "numeric",
  minute: "2-digit",
});
const otherYear = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });

/** The same in a narrow column: the time of day only if it is of this year. */
export function shortTime(text: string, now: Date = new Date()): string {
  const when = new Date(text.replace(" ", "T"));
  return (when.getFullYear() === now.getFullYear() ? thisYear : otherYear).format(when);
}

/** `1 h 5 min`, the two largest parts. */
export function duration(seconds: number): string {
  const parts: [number, string][] = [
    [Math.floor(seconds / 86_400), "d"],
    [Math.floor(seconds / 3_600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "min"],
    [Math.floor(seconds) % 60, "s"],
  ];
  const first = parts.findIndex(([value]) => value > 0);
  if (first < 0) return "0 s";
  return parts
    .slice(first, first + 2)
    .filter(([value]) => value > 0)
    .map(([value, unit]) => `${value} ${unit}`)
    .join(" ");
}

const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });
const SPANS: [number, Intl.RelativeTimeFormatUnit][] = [
  [86_400, "day"],
  [3_600, "hour"],
  [60, "minute"],
];

/** `5 minutes ago`, `in 2 days`. */
export function ago(text: string, now: number = Date.now()): string {
  const seconds = (new Date(text.replace(" ", "T")).getTime() - now) / 1000;
  for (const [span, unit] of SPANS) {
    if (Math.abs(seconds) >= span) return relative.format(Math.round(seconds / span), unit);
  }
  return relative.format(Math.round(seconds), "second");
}
