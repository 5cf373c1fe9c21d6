import { describe, expect, it } from "vitest";
import { seriesOf, summaryOf } from "@/features/activity/throughput";

const T0 = Date.UTC(2026, 0, 1);
const point = (second: number, bytes: number, faults = 0) => ({
  time: new Date(T0 + second * 1000).toISOString(),
  bytes,
  files: 0,
  faults,
});

describe("rates", () => {
  it("are differences over time", () => {
    const series = seriesOf([point(0, 0), point(2, 200), point(6, 200, 1), point(8, 600)]);
    expect(series.rates).toEqual([null, 100, 0, 200]);
    expect(series.faults).toEqual([0, 0, 1, 0]);
    expect(summaryOf(series)).toMatchObject({ mean: 75, best: 200 });
  });

  it("never fall below nothing, and instants come once", () => {
    expect(seriesOf([point(0, 5), point(0, 9), point(2, 3)]).rates).toEqual([null, 0]);
  });

  it("have no summary while there are too few", () => {
    expect(summaryOf(seriesOf([point(0, 0), point(2, 1)]))).toBeNull();
    expect(summaryOf(seriesOf([]))).toBeNull();
  });
});
