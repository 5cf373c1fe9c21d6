import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useMemo, useState } from "react";
import { isFinished, type LiveTask } from "@/api/taskMerge";
import { throughputQuery } from "@/api/throughput";
import styles from "@/features/activity/Throughput.module.css";
import { useTexts } from "@/features/activity/texts";
import { type Series, seriesOf, summaryOf } from "@/features/activity/throughput";
import { bytes, count, rate } from "@/ui/format";
import { Problem } from "@/ui/Problem";
import { Skeleton } from "@/ui/Skeleton";

/** uPlot and its styles: loaded when there is something to draw. */
const Plot = lazy(() => import("@/features/activity/Plot"));

const SLOWEST_REFRESH_MS = 30_000;
const FASTEST_REFRESH_MS = 2_000;
const AT_ONCE_S = 86_400;

/** How fast it went, from the start to now, as a line and as a table. */
export function Throughput({ task }: { task: LiveTask }) {
  const { t } = useTexts();
  const [asTable, setAsTable] = useState(false);
  const finished = isFinished(task);
  const found = useQuery({
    ...throughputQuery(task.task_id),
    refetchInterval: (query) => {
      if (finished) return false;
      const interval = (query.state.data?.interval_s ?? 0) * 1000;
      return Math.min(Math.max(interval, FASTEST_REFRESH_MS), SLOWEST_REFRESH_MS);
    },
  });
  const series = useMemo(() => seriesOf(found.data?.DATA ?? []), [found.data]);
  const summary = summaryOf(series);
  const clock = clockOf(summary ? summary.to - summary.from : 0);
  const words = summary && {
    from: clock(summary.from),
    to: finished ? clock(summary.to) : t("plot.now"),
    mean: rate(summary.mean),
    best: rate(summary.best),
  };
  return (
    <section className={styles.card} aria-labelledby="throughput">
      <div className={styles.head}>
        <h2 id="throughput">{t("plot.title")}</h2>
        {words && (
          <span className={styles.soft}>
            {t("plot.mean")} {words.mean} · {t("plot.best")} {words.best}
          </span>
        )}
      </div>
      <div className={styles.place}>
        {found.isError && !found.data ? (
          <Problem title={t("plot.gone")} error={found.error} onRetry={() => void found.refetch()} />
        ) : found.isPending ? (
          <Skeleton height="100%" />
        ) : !words ? (
          <p className={styles.soft}>{t(finished ? "plot.gone" : "plot.few")}</p>
        ) : (
          <Suspense fallback={<Skeleton height="100%" />}>
            <Plot series={series} label={t("plot.summary", words)} />
          </Suspense>
        )}
      </div>
      {words && (
        <details className={styles.fold} onToggle={(event) => setAsTable(event.currentTarget.open)}>
          <summary>{t("plot.table")}</summary>
          {asTable && <Table series={series} clock={clock} />}
        </details>
      )}
    </section>
  );
}

function Table({ series, clock }: { series: Series; clock: (seconds: number) => string }) {
  const { t } = useTexts();
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
    <section className={styles.scroll} tabIndex={0} aria-label={t("plot.table")}>
      <table>
        <thead>
          <tr>
            <th scope="col">{t("plot.interval")}</th>
            <th scope="col">{t("plot.rateColumn")}</th>
            <th scope="col">{t("plot.bytesColumn")}</th>
            <th scope="col">{t("plot.faultsColumn")}</th>
          </tr>
        </thead>
        <tbody>
          {series.times.map((time, index) => (
            <tr key={time}>
              <th scope="row">{clock(time)}</th>
              <td>{rate(series.rates[index] ?? 0)}</td>
              <td>{bytes(series.bytes[index] ?? 0)}</td>
              <td>{count(series.faults[index] ?? 0)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function clockOf(spanS: number): (seconds: number) => string {
  const format = new Intl.DateTimeFormat(
    undefined,
    spanS > AT_ONCE_S ? { dateStyle: "short", timeStyle: "short" } : { timeStyle: "medium" },
  );
  return (seconds) => format.format(seconds * 1000);
}
