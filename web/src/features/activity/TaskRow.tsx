import { Link } from "@tanstack/react-router";
import { ArrowRightLeft, Trash2 } from "lucide-react";
import { memo } from "react";
import { useTranslation } from "react-i18next";
import { isFinished, type LiveTask } from "@/api/taskMerge";
import { Bar } from "@/features/activity/Bar";
import { StateBadge } from "@/features/activity/StateBadge";
import { fraction, said, sentence, stateOf } from "@/features/activity/state";
import styles from "@/features/activity/TaskRow.module.css";
import { useTexts } from "@/features/activity/texts";
import { bytes, rate } from "@/ui/format";
import { Time } from "@/ui/Time";

/** A task in the list. Drawn again only when the task has changed. */
export const TaskRow = memo(function TaskRow({ task }: { task: LiveTask }) {
  const { t, title, ends, bytesDone, filesDone, left, took: tookOf } = useTexts();
  const state = stateOf(task);
  const finished = isFinished(task);
  const name = title(task);
  const transfer = task.type === "TRANSFER";
  const done = transfer && task.files > 0 ? `${bytesDone(task)} · ${filesDone(task)}` : filesDone(task);
  const took = tookOf(task);
  const moving = !finished && (task.bytes_per_second ?? 0) > 0;
  const remaining = left(task);
  const fatal = task.fatal_error?.description;
  const reason = finished ? fatal && sentence(fatal) : reasonOf(state.details);
  return (
    <>
      <What id={task.task_id} type={task.type} name={name} ends={ends(task)} />
      <div className={styles.state}>
        <StateBadge kind={state.kind} tone={state.tone} />
        <span className={styles.soft} title={reason}>
          {reason && state.kind !== "cancelled"
            ? reason
            : task.faults > 0
              ? t("progress.faults", { count: task.faults })
              : ""}
        </span>
      </div>
      <div className={styles.progress}>
        {finished ? (
          <>
            <span>
              {transfer && task.bytes_transferred > 0
                ? t("progress.moved", { bytes: bytes(task.bytes_transferred), files: filesDone(task) })
                : task.status === "FAILED" && transfer
                  ? t("progress.nothing")
                  : filesDone(task)}
            </span>
            {transfer && task.bytes_transferred > 0 && (
              <span className={styles.soft}>
                {t("progress.mean", { rate: rate(task.effective_bytes_per_second) })}
              </span>
            )}
          </>
        ) : (
          <>
            <Bar
              small
              label={t("progress.label", { task: name })}
              value={fraction(task)}
              text={done}
              tone={state.kind === "running" ? "active" : state.tone}
            />
            <span className={styles.soft}>{done}</span>
          </>
        )}
      </div>
      <div className={styles.when}>
        {finished ? (
          <>
            {task.completion_time && <Time value={task.completion_time} />}
            {took !== null && <span className={styles.soft}>{took}</span>}
          </>
        ) : (
          <>
            <span>{moving ? rate(task.bytes_per_second ?? 0) : ""}</span>
            <span className={styles.soft}>{remaining ?? <Time value={task.request_time} />}</span>
          </>
        )}
      </div>
    </>
  );
});

function reasonOf(details: Parameters<typeof said>[0]): string | undefined {
  const reason = said(details, "label") ?? said(details, "error") ?? said(details, "reason");
  return reason && sentence(reason);
}

/** What stays the same while the numbers change: with a link, the costly part of a row. */
const What = memo(function What({
  id,
  type,
  name,
  ends,
}: {
  id: string;
  type: LiveTask["type"];
  name: string;
  ends: string;
}) {
  const { t } = useTranslation("activity");
  const Icon = type === "DELETE" ? Trash2 : ArrowRightLeft;
  return (
    <div className={styles.what}>
      <Icon size={18} aria-label={t(`what.${type}`)} className={styles.icon} role="img" />
      <div className={styles.names}>
        <Link to="/activity/$taskId" params={{ taskId: id }} className={styles.title} title={name} dir="auto">
          {name}
        </Link>
        <span className={styles.soft} title={ends}>
          {ends}
        </span>
      </div>
    </div>
  );
});
