import "uplot/dist/uPlot.min.css";
import { useEffect, useRef } from "react";
import uPlot from "uplot";
import styles from "@/features/activity/Plot.module.css";
import type { Series } from "@/features/activity/throughput";
import { bytes, rate } from "@/ui/format";

const HEIGHT_PX = 190;
const AXIS_PX = 76;

/** The line. `label` says in words what it shows, for those who do not see it. */
export default function Plot({ series, label }: { series: Series; label: string }) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(null);
  const shown = useRef<uPlot.AlignedData>([[], []]);
  // the first instant has no rate of its own: the line begins with that of the second
  shown.current = [series.times, series.rates.with(0, series.rates[1] ?? null)];

  useEffect(() => {
    const at = place.current;
    if (!at) return;
    const draw = () => {
      plot.current?.destroy();
      plot.current = new uPlot(options(at), shown.current, at);
    };
    draw();
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", draw);
    const resized = new ResizeObserver(() =>
      plot.current?.setSize({ width: at.clientWidth, height: HEIGHT_PX }),
    );
    resized.observe(at);
    return () => {
      dark.removeEventListener("change", draw);
      resized.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, []);

  // biome-ignore lint/correctness/useExhaustiveDependencies: the series is what is shown
  useEffect(() => plot.current?.setData(shown.current), [series]);

  return <div ref={place} className={styles.plot} role="img" aria-label={label} />;
}

/** Steps between the times on the axis: round for a clock. */
const SECONDS = [1, 2, 5, 10, 15, 30]
  .flatMap((n) => [n, n * 60])
  .concat([1, 2, 3, 6, 12, 24, 48, 96, 192, 384, 768].map((hours) => hours * 3600))
  .sort((one, other) => one - other);
/** Steps between rates: round in binary units. */
const RATES = [0, 1, 2, 3, 4, 5].flatMap((unit) =>
  [1, 2, 5, 10, 20, 50, 100, 200, 500].map((n) => n * 1024 ** unit),
);

function clockFor(spanS: number): Intl.DateTimeFormat {
  if (spanS > 2 * 86_400) return new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
  return new Intl.DateTimeFormat(undefined, { timeStyle: spanS < 300 ? "medium" : "short" });
}

function options(at: HTMLElement): uPlot.Options {
  const style = getComputedStyle(at);
  const colour = (name: string) => style.getPropertyValue(name).trim();
  const axis = {
    stroke: colour("--soft"),
    font: `12px ${style.fontFamily}`,
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { show: false },
  };
  return {
    width: at.clientWidth,
    height: HEIGHT_PX,
    padding: [8, 8, 0, 0],
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 8 } },
    scales: { y: { range: (_plot, _least, most) => [0, Math.max(most, 1) * 1.1] } },
    axes: [
      {
        ...axis,
        space: 90,
        size: 28,
        incrs: SECONDS,
        values: (_plot, ticks) => {
          const clock = clockFor((ticks.at(-1) ?? 0) - (ticks[0] ?? 0));
          return ticks.map((tick) => clock.format(tick * 1000));
        },
      },
      {
        ...axis,
        size: AXIS_PX,
        space: 36,
        incrs: RATES,
        values: (_plot, ticks) => ticks.map((tick) => (tick === 0 ? bytes(0) : rate(tick))),
      },
    ],
    series: [
      {},
      {
        stroke: colour("--accent"),
        width: 2,
        fill: `color-mix(in srgb, ${colour("--accent")} 14%, transparent)`,
        points: { show: false },
      },
    ],
    hooks: {
      setCursor: [
        (plot) => {
          const index = plot.cursor.idx;
          const value = index == null ? null : plot.data[1]?.[index];
          at.dataset.value = value == null ? "" : rate(value);
        },
      ],
    },
  };
}
