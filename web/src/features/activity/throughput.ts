/** Rates over time from counters at instants. Pure. */

import type { Point } from "@/api/throughput";

export interface Series {
  /** Seconds since 1970. */
  times: number[];
  /** Bytes per second since the instant before; the first has none. */
  rates: (number | null)[];
  bytes: number[];
  faults: number[];
}

export function seriesOf(points: readonly Point[]): Series {
  const series: Series = { times: [], rates: [], bytes: [], faults: [] };
  for (const point of points) add(series, Date.parse(point.time) / 1000, point.bytes, point.faults);
  return series;
}

function add(series: Series, time: number, bytes: number, faults: number): void {
  const before = series.times.at(-1);
  if (before !== undefined && time <= before) return;
  const rate =
    before === undefined ? null : Math.max(0, bytes - (series.bytes.at(-1) ?? 0)) / (time - before);
  series.times.push(time);
  series.rates.push(rate);
  series.bytes.push(bytes);
  series.faults.push(faults);
}

export interface Summary {
  from: number;
  to: number;
  mean: number;
  best: number;
}

/** Null while there are too few points for a line. */
export function summaryOf({ times, rates, bytes }: Series): Summary | null {
  const from = times[0];
  const to = times.at(-1);
  if (from === undefined || to === undefined || times.length < 3) return null;
  const mean = ((bytes.at(-1) ?? 0) - (bytes[0] ?? 0)) / (to - from);
  return { from, to, mean, best: Math.max(...rates.map((rate) => rate ?? 0)) };
}
