import { useInfiniteQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useVirtualizer } from "@tanstack/react-virtual";
import { type ReactNode, useEffect, useRef } from "react";
import { isFinished, type LiveTask } from "@/api/taskMerge";
import { type FinishedFile, finishedFilesQuery, type SkippedFile, skippedFilesQuery } from "@/api/tasks";
import styles from "@/features/activity/Files.module.css";
import { useTexts } from "@/features/activity/texts";
import { Button } from "@/ui/Button";
import { EmptyState } from "@/ui/EmptyState";
import { bytes, count } from "@/ui/format";
import { Problem } from "@/ui/Problem";
import { Skeleton } from "@/ui/Skeleton";

const ROW_PX = 52;
/** Of a phone the rows have the size and the checksum on lines of their own. */
const TALL_ROW_PX = 92;

/** What was moved, with its checksum; what was left out, and why; and that some was not done. */
export function Files({ task, skipped }: { task: LiveTask; skipped: boolean }) {
  const { t } = useTexts();
  if (task.type === "DELETE")
    return <EmptyState title={t("files.delete")}>{t("files.deleteText")}</EmptyState>;
  const notDone = isFinished(task)
    ? task.subtasks_failed + task.subtasks_canceled + task.subtasks_expired
    : 0;
  const params = { taskId: task.task_id };
  return (
    <div className={styles.files}>
      <nav className={styles.which} aria-label={t("files.which")}>
        <Link
          to="/activity/$taskId"
          params={params}
          search={{ tab: "files" }}
          replace
          resetScroll={false}
          activeOptions={{ exact: true, includeSearch: true }}
        >
          {t("files.moved")} <span>{count(task.files_transferred ?? 0)}</span>
        </Link>
        <Link
          to="/activity/$taskId"
          params={params}
          search={{ tab: "files", files: "skipped" }}
          replace
          resetScroll={false}
          activeOptions={{ exact: true, includeSearch: true }}
        >
          {t("files.skipped")} <span>{count(task.subtasks_skipped_errors)}</span>
        </Link>
      </nav>
      {notDone > 0 && (
        <p className={styles.notDone}>
          <strong>{t("files.failed")}</strong> {t("files.failedText", { count: notDone })}{" "}
          <Link
            to="/activity/$taskId"
            params={params}
            search={{ tab: "events", errors: true }}
            resetScroll={false}
          >
            {t("trouble.events")}
          </Link>
        </p>
      )}
      {skipped ? <Skipped task={task} /> : <Moved task={task} />}
    </div>
  );
}

function Moved({ task }: { task: LiveTask }) {
  const { t } = useTexts();
  const found = useInfiniteQuery(finishedFilesQuery(task.task_id));
  const files = found.data?.pages.flatMap((page) => page.DATA) ?? [];
  const ended = isFinished(task);
  return (
    <Listed
      found={found}
      files={files}
      newer={!ended}
      label={t("files.moved")}
      empty={
        <EmptyState title={t(ended ? "files.noneEnded" : "files.none")}>
          {t(ended ? "files.noneEndedText" : "files.noneText")}
        </EmptyState>
      }
      columns={[t("files.destination"), t("files.size"), t("files.checksum")]}
      row={(file: FinishedFile) => [
        <Path key="p" path={file.destination_path ?? file.source_path} below={file.source_path} />,
        bytes(file.size),
        file.checksum ? (
          <span key="c" className={styles.checksum} title={file.checksum}>
            {file.checksum_algorithm} <code>{file.checksum}</code>
          </span>
        ) : (
          <span key="c" className={styles.soft}>
            {t(task.verify_checksum ? "files.inRanges" : "files.noChecksum")}
          </span>
        ),
      ]}
    />
  );
}

function Skipped({ task }: { task: LiveTask }) {
  const { t } = useTexts();
  const found = useInfiniteQuery(skippedFilesQuery(task.task_id));
  const files = found.data?.pages.flatMap((page) => page.DATA) ?? [];
  return (
    <Listed
      found={found}
      files={files}
      newer={!isFinished(task)}
      label={t("files.skipped")}
      empty={<EmptyState title={t("files.noSkipped")}>{t("files.noSkippedText")}</EmptyState>}
      columns={[t("files.source"), t("files.kind"), t("files.reason")]}
      row={(file: SkippedFile) => [
        <Path key="p" path={file.source_path} below={file.destination_path ?? ""} />,
        t(file.is_directory ? "files.directory" : "files.file"),
        <span key="w" className={styles.reason} title={file.error_details}>
          {file.error_details || file.error_code}
        </span>,
      ]}
    />
  );
}

function Path({ path, below }: { path: string; below: string }) {
  return (
    <span className={styles.paths}>
      <code title={path} dir="auto">
        {path}
      </code>
      <code title={below} dir="auto" className={styles.soft}>
        {below}
      </code>
    </span>
  );
}

interface Found {
  isError: boolean;
  isPending: boolean;
  isFetching: boolean;
  error: Error | null;
  hasNextPage: boolean;
  isFetchingNextPage: boolean;
  refetch: () => unknown;
  fetchNextPage: () => unknown;
}

/** A table of any number of files, of which only those that are seen are drawn. */
function Listed<F>({
  found,
  files,
  newer,
  label,
  empty,
  columns,
  row,
}: {
  label: string;
  found: Found;
  files: F[];
  /** More may come while one looks. */
  newer: boolean;
  empty: ReactNode;
  columns: [string, string, string];
  row: (file: F) => [ReactNode, ReactNode, ReactNode];
}) {
  const { t } = useTexts();
  const scroll = useRef<HTMLDivElement>(null);
  const tall = typeof window !== "undefined" && window.innerWidth < 640;
  const height = tall ? TALL_ROW_PX : ROW_PX;
  const rows = useVirtualizer({
    count: files.length,
    getScrollElement: () => scroll.current,
    estimateSize: () => height,
    overscan: 10,
  });
  const shown = rows.getVirtualItems();
  const last = shown.at(-1)?.index ?? 0;
  const { hasNextPage, isFetchingNextPage, fetchNextPage } = found;
  useEffect(() => {
    // a part may be empty: the next one is read until there is something or nothing more
    if (hasNextPage && !isFetchingNextPage && last >= files.length - 20) fetchNextPage();
  }, [hasNextPage, isFetchingNextPage, fetchNextPage, last, files.length]);
  if (found.isError && found.error && files.length === 0)
    return <Problem title={t("files.failedTitle")} error={found.error} onRetry={() => found.refetch()} />;
  if (found.isPending || (files.length === 0 && hasNextPage)) return <Skeleton height="14rem" />;
  const again = newer && (
    <Button size="small" onPress={() => found.refetch()} isPending={found.isFetching}>
      {t("files.newer")}
    </Button>
  );
  if (files.length === 0)
    return (
      <>
        {empty}
        {again}
      </>
    );
  return (
    <>
      {/* biome-ignore lint/a11y/useSemanticElements: rows are placed freely, as far as they are seen */}
      <div
        ref={scroll}
        className={styles.table}
        role="table"
        aria-rowcount={files.length + 1}
        aria-label={label}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
        tabIndex={0}
      >
        {/* biome-ignore lint/a11y/useSemanticElements: as above */}
        {/* biome-ignore lint/a11y/useFocusableInteractive: a row of a table, not of a grid */}
        <div role="row" aria-rowindex={1} className={styles.header}>
          {columns.map((name, index) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: columns have their place
            // biome-ignore lint/a11y/useSemanticElements: as above
            // biome-ignore lint/a11y/useFocusableInteractive: a header of a table, not of a grid
            <span role="columnheader" key={index}>
              {name}
            </span>
          ))}
        </div>
        {/* biome-ignore lint/a11y/useSemanticElements: as above */}
        <div role="rowgroup" className={styles.body} style={{ height: rows.getTotalSize() }}>
          {shown.map((item) => {
            const file = files[item.index];
            return (
              file && (
                // biome-ignore lint/a11y/useSemanticElements: as above
                // biome-ignore lint/a11y/useFocusableInteractive: as above
                <div
                  role="row"
                  key={item.key}
                  aria-rowindex={item.index + 2}
                  className={styles.row}
                  style={{ transform: `translateY(${item.start}px)`, height }}
                >
                  {row(file).map((cell, index) => (
                    // biome-ignore lint/suspicious/noArrayIndexKey: columns have their place
                    // biome-ignore lint/a11y/useSemanticElements: as above
                    <span role="cell" key={index} className={styles.cell}>
                      {cell}
                    </span>
                  ))}
                </div>
              )
            );
          })}
        </div>
      </div>
      <div className={styles.foot}>
        <span className={styles.soft}>
          {isFetchingNextPage ? t("files.more") : t("files.shown", { count: files.length })}
        </span>
        {again}
      </div>
    </>
  );
}
