import { useInfiniteQuery } from "@tanstack/react-query";
import { Check } from "lucide-react";
import type { ReactNode } from "react";
import { isFinished, type LiveTask } from "@/api/taskMerge";
import { itemsQuery, type TaskItem } from "@/api/tasks";
import styles from "@/features/activity/Overview.module.css";
import { useTexts } from "@/features/activity/texts";
import { optionsOf } from "@/features/activity/words";
import { Button } from "@/ui/Button";
import { bytes, count, rate } from "@/ui/format";
import { Problem } from "@/ui/Problem";
import { Skeleton } from "@/ui/Skeleton";
import { Time } from "@/ui/Time";

/** What was asked for, and what it came to in numbers. */
export function Overview({ task }: { task: LiveTask }) {
  const { t } = useTexts();
  const options = optionsOf(task);
  return (
    <div className={styles.overview}>
      <section className={styles.wide} aria-labelledby="asked">
        <h2 id="asked">{t("overview.asked")}</h2>
        <Items task={task} />
      </section>
      {options.length > 0 && (
        <section aria-labelledby="options">
          <h2 id="options">{t("overview.options")}</h2>
          <ul className={styles.options}>
            {options.map((one) => (
              <li key={one}>
                <Check size={16} aria-hidden="true" />
                {t(`option.${one}`)}
              </li>
            ))}
          </ul>
          {task.filter_rules && task.filter_rules.length > 0 && (
            <>
              <h3 className={styles.rules}>{t("overview.rules")}</h3>
              <ol className={styles.ruleList}>
                {task.filter_rules.map(({ method, name, type }, index) => (
                  // biome-ignore lint/suspicious/noArrayIndexKey: rules have a place and may be the same
                  <li key={index}>
                    {type
                      ? t(`overview.${method}Only`, { name, type: t(`overview.ruleType.${type}`) })
                      : t(`overview.${method}`, { name })}
                  </li>
                ))}
              </ol>
            </>
          )}
        </section>
      )}
      <section aria-labelledby="numbers">
        <h2 id="numbers">{t("overview.numbers")}</h2>
        <Numbers task={task} />
      </section>
    </div>
  );
}

function Items({ task }: { task: LiveTask }) {
  const { t } = useTexts();
  const found = useInfiniteQuery(itemsQuery(task.task_id));
  if (found.isError)
    return <Problem title={t("task.failedTitle")} error={found.error} onRetry={() => void found.refetch()} />;
  if (found.isPending) return <Skeleton height="3rem" />;
  const total = found.data.pages[0]?.total ?? 0;
  const items = found.data.pages.flatMap((page) => page.DATA);
  return (
    <>
      <ul className={styles.items}>
        {items.map((item, index) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: items have a place and may be the same
          <li key={index}>
            <Item item={item} />
          </li>
        ))}
      </ul>
      {found.hasNextPage && (
        <p className={styles.more}>
          <Button
            size="small"
            onPress={() => void found.fetchNextPage()}
            isPending={found.isFetchingNextPage}
          >
            {t("overview.moreItems")}
          </Button>{" "}
          {t("task.itemsMore", { count: total - items.length })}
        </p>
      )}
    </>
  );
}

function Item({ item }: { item: TaskItem }) {
  const { t } = useTexts();
  const kind = item.recursive === null ? "either" : item.recursive ? "tree" : "file";
  return (
    <>
      <code dir="auto">{item.source_path}</code>
      {item.destination_path !== null && (
        <>
          <span aria-hidden="true"> → </span>
          <code dir="auto">{item.destination_path}</code>
        </>
      )}
      <span className={styles.soft}>
        {t(`overview.${kind}`)}
        {item.external_checksum && (
          <>
            {" · "}
            {t("overview.checksum", {
              algorithm: item.checksum_algorithm ?? "MD5",
              checksum: item.external_checksum,
            })}
          </>
        )}
      </span>
    </>
  );
}

function Numbers({ task }: { task: LiveTask }) {
  const { t, took } = useTexts();
  const transfer = task.type === "TRANSFER";
  const finished = isFinished(task);
  const rows: [string, ReactNode, boolean?][] = transfer
    ? [
        [t("number.files"), count(task.files)],
        [t("number.transferred"), count(task.files_transferred ?? 0)],
        [t("number.skipped"), count(task.files_skipped), task.files_skipped > 0 || task.sync_level !== null],
        [t("number.directories"), count(task.directories)],
        [t("number.symlinks"), count(task.symlinks), task.symlinks > 0],
        [t("number.bytes"), bytes(task.bytes_transferred)],
        [t("number.checked"), bytes(task.bytes_checksummed), task.verify_checksum],
        [t("number.resent"), bytes(task.bytes_resent), task.bytes_resent > 0],
        [t("number.rate"), rate(task.effective_bytes_per_second)],
      ]
    : [
        [t("number.deletedFiles"), count(task.files)],
        [t("number.deletedDirectories"), count(task.directories)],
      ];
  const notDone = task.subtasks_failed + task.subtasks_canceled + task.subtasks_expired;
  rows.push(
    [t("number.leftOut"), count(task.subtasks_skipped_errors), task.subtasks_skipped_errors > 0],
    [t("number.failed"), count(notDone), notDone > 0],
    [t("number.faults"), count(task.faults)],
    [t("number.requested"), <Time key="r" value={task.request_time} exact />],
  );
  if (finished && task.completion_time)
    rows.push(
      [t("number.ended"), <Time key="e" value={task.completion_time} exact />],
      [t("number.took"), took(task)],
    );
  else rows.push([t("number.deadline"), <Time key="d" value={task.deadline} exact />]);
  rows.push([t("number.id"), <code key="i">{task.task_id}</code>]);
  return (
    <dl className={styles.numbers}>
      {rows
        .filter(([, , shown = true]) => shown)
        .map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  );
}
