import { useInfiniteQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useSearch } from "@tanstack/react-router";
import { useWindowVirtualizer } from "@tanstack/react-virtual";
import { ArrowRightLeft } from "lucide-react";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { useLiveTasks } from "@/api/live";
import { isFinished, type LiveTask, unique } from "@/api/taskMerge";
import { PAGE, POLL_MS, taskListQuery } from "@/api/tasks";
import styles from "@/features/activity/ActivityPage.module.css";
import { Ended } from "@/features/activity/Ended";
import { Filters } from "@/features/activity/Filters";
import { LiveMark } from "@/features/activity/LiveMark";
import { type ActivitySearch, TABS, taskFilter } from "@/features/activity/search";
import { needsAttention } from "@/features/activity/state";
import { TaskRow } from "@/features/activity/TaskRow";
import { classes } from "@/ui/classes";
import { EmptyState } from "@/ui/EmptyState";
import { count } from "@/ui/format";
import { Problem } from "@/ui/Problem";
import { Skeleton } from "@/ui/Skeleton";

/** What needs attention is chosen here, from all that run: as many as the API gives at once. */
const ALL_ACTIVE = 1000;
const ROW_PX = 73;
const FIRST_ROWS = 8;

/** All that was asked for, newest first, and live. */
export function ActivityPage() {
  const { t } = useTranslation("activity");
  const search = useSearch({ from: "/inside/activity" });
  const connection = useLiveTasks();
  const queries = useQueryClient();
  const tab = search.tab ?? "all";
  const found = useInfiniteQuery({
    ...taskListQuery(queries, taskFilter(search), tab === "attention" ? ALL_ACTIVE : PAGE),
    refetchInterval: (query) => {
      if (connection === "live" || connection === "connecting") return false;
      const running = query.state.data?.pages.some((page) => page.DATA.some((task) => !isFinished(task)));
      return running ? POLL_MS : 5 * POLL_MS;
    },
  });
  const tasks = useMemo(() => {
    const all = unique(found.data?.pages ?? []);
    return tab === "attention" ? all.filter(needsAttention) : all;
  }, [found.data, tab]);
  const total = tab === "attention" ? tasks.length : found.data?.pages.at(-1)?.total;
  return (
    <div className={styles.page}>
      <div className={styles.head}>
        <h1>{t("title")}</h1>
        <LiveMark connection={connection} />
      </div>
      <nav className={styles.tabs} aria-label={t("tabs.label")}>
        {TABS.map((one) => (
          <Link
            key={one}
            to="/activity"
            search={withTab(search, one)}
            className={styles.tab}
            activeOptions={{ exact: true, includeSearch: true }}
            resetScroll={false}
          >
            {t(`tabs.${one}`)}
          </Link>
        ))}
      </nav>
      <Filters search={search} />
      <p className={styles.count} role="status">
        {total !== undefined && !found.isPlaceholderData ? t("list.count", { count: total }) : " "}
      </p>
      <Ended tasks={tasks} />
      {found.isError && !found.data ? (
        <Problem title={t("list.failedTitle")} error={found.error} onRetry={() => void found.refetch()} />
      ) : found.isPending ? (
        <Rows />
      ) : tasks.length === 0 ? (
        <Nothing search={search} />
      ) : (
        <TaskList
          tasks={tasks}
          total={total ?? tasks.length}
          dim={found.isPlaceholderData}
          hasMore={found.hasNextPage}
          isLoadingMore={found.isFetchingNextPage}
          loadMore={() => void found.fetchNextPage()}
        />
      )}
    </div>
  );
}

function withTab(search: ActivitySearch, tab: (typeof TABS)[number]): ActivitySearch {
  const { tab: _before, ...rest } = search;
  return tab === "all" ? rest : { ...rest, tab };
}

function TaskList({
  tasks,
  total,
  dim,
  hasMore,
  isLoadingMore,
  loadMore,
}: {
  tasks: LiveTask[];
  total: number;
  dim: boolean;
  hasMore: boolean;
  isLoadingMore: boolean;
  loadMore: () => void;
}) {
  const { t } = useTranslation("activity");
  const list = useRef<HTMLOListElement>(null);
  const [top, setTop] = useState(0);
  useLayoutEffect(() => setTop(list.current?.offsetTop ?? 0), []);
  const rows = useWindowVirtualizer({
    count: tasks.length,
    estimateSize: () => ROW_PX,
    overscan: 4,
    scrollMargin: top,
    getItemKey: (index) => tasks[index]?.task_id ?? index,
  });
  const shown = rows.getVirtualItems();
  const last = shown.at(-1)?.index ?? 0;
  useEffect(() => {
    if (hasMore && !isLoadingMore && last >= tasks.length - 5) loadMore();
  }, [hasMore, isLoadingMore, last, tasks.length, loadMore]);
  return (
    <>
      <ol
        ref={list}
        className={classes(styles.list, dim && styles.dim)}
        aria-label={t("list.label")}
        style={{ height: rows.getTotalSize() }}
      >
        {shown.map((row) => {
          const task = tasks[row.index];
          return (
            task && (
              <li
                key={row.key}
                ref={rows.measureElement}
                data-index={row.index}
                aria-posinset={row.index + 1}
                aria-setsize={total}
                className={styles.row}
                style={{ transform: `translateY(${row.start - top}px)` }}
              >
                <TaskRow task={task} />
              </li>
            )
          );
        })}
      </ol>
      <p className={styles.foot}>
        {isLoadingMore ? t("list.more") : hasMore ? "" : t("list.end")}
        {hasMore && !isLoadingMore && `${count(tasks.length)} / ${count(total)}`}
      </p>
    </>
  );
}

function Rows() {
  return (
    <div className={styles.list} aria-busy="true">
      {Array.from({ length: FIRST_ROWS }, (_, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: they are all the same
        <div key={index} className={classes(styles.row, styles.waiting)}>
          <Skeleton width="70%" height="1rem" />
          <Skeleton width="7rem" height="1.2rem" />
          <Skeleton width="90%" height="0.5rem" />
          <Skeleton width="5rem" height="1rem" />
        </div>
      ))}
    </div>
  );
}

function Nothing({ search }: { search: ActivitySearch }) {
  const { t } = useTranslation("activity");
  const { tab = "all", ...others } = search;
  const filtered = Object.keys(others).length > 0;
  const which = filtered ? "filtered" : tab;
  return (
    <EmptyState
      icon={<ArrowRightLeft size={40} aria-hidden="true" />}
      title={t(`empty.${which}`)}
      action={
        filtered ? (
          <Link to="/activity" search={withTab({}, tab)}>
            {t("filter.clear")}
          </Link>
        ) : (
          <Link to="/files">{t("empty.toFiles")}</Link>
        )
      }
    >
      {t(`empty.${which}Text`)}
    </EmptyState>
  );
}
