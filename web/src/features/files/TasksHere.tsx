import { Link } from "@tanstack/react-router";
import { ArrowRight, CheckCircle2, CircleAlert, LoaderCircle, PauseCircle } from "lucide-react";
import { useTranslation } from "react-i18next";
import { type Task, useTasksHere } from "@/features/files/queries";
import styles from "@/features/files/TasksHere.module.css";
import { classes } from "@/ui/classes";
import { bytes, count } from "@/ui/format";

/** What has ended stays to be seen for so long. */
const ENDED_MS = 60_000;

/** One line at the foot of the page: the tasks that concern what is on the screen, each a way to its page. */
export function TasksHere({ endpointIds }: { endpointIds: string[] }) {
  const { t } = useTranslation("files");
  const { data } = useTasksHere(endpointIds);
  const ended = (data?.ended ?? []).filter(
    (one) => one.completion_time && Date.now() - Date.parse(one.completion_time) < ENDED_MS,
  );
  const tasks = [...(data?.running ?? []), ...ended];
  return (
    <section className={styles.bar} aria-label={t("tasks.label")}>
      {tasks.length === 0 ? (
        <span className={styles.none}>{t("tasks.none")}</span>
      ) : (
        <ul className={styles.list}>
          {tasks.map((task) => (
            <li key={task.task_id}>
              <Chip task={task} />
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

function Chip({ task }: { task: Task }) {
  const { t } = useTranslation("files");
  const isDelete = task.type === "DELETE";
  const state =
    task.status === "SUCCEEDED"
      ? "good"
      : task.status === "FAILED" || task.is_ok === false
        ? "bad"
        : task.is_paused
          ? "still"
          : "moving";
  const Picture = { good: CheckCircle2, bad: CircleAlert, still: PauseCircle, moving: LoaderCircle }[state];
  const done = isDelete ? task.files + task.directories : (task.files_transferred ?? 0) + task.files_skipped;
  return (
    <Link
      to="/activity/$taskId"
      params={{ taskId: task.task_id }}
      className={classes(styles.chip, styles[state])}
    >
      <Picture size={14} aria-hidden="true" />
      <span className={styles.name}>
        {task.label ?? (isDelete ? t("tasks.delete") : task.source_endpoint_display_name)}
        {!task.label && !isDelete && (
          <>
            <ArrowRight size={12} aria-label={t("tasks.to")} /> {task.destination_endpoint_display_name}
          </>
        )}
      </span>
      <span className={styles.state}>
        {state === "good" || state === "moving"
          ? t(isDelete ? "tasks.deleted" : "tasks.files", { count: done, amount: count(done) })
          : t(
              task.status === "FAILED"
                ? "tasks.failed"
                : state === "still"
                  ? "tasks.paused"
                  : "tasks.trouble",
            )}
        {state === "moving" && !isDelete && ` · ${bytes(task.bytes_transferred)}`}
      </span>
    </Link>
  );
}
