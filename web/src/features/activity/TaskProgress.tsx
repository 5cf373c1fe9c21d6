import { Trans } from "react-i18next";
import { isFinished, type LiveTask } from "@/api/taskMerge";
import { Bar } from "@/features/activity/Bar";
import { fraction, type State } from "@/features/activity/state";
import styles from "@/features/activity/TaskProgress.module.css";
import { useTexts } from "@/features/activity/texts";
import { rate } from "@/ui/format";
import { Time } from "@/ui/Time";

/** How far it is and how fast; of one that has ended, how much came of it. */
export function TaskProgress({ task, state }: { task: LiveTask; state: State }) {
  const { t, title, bytesDone, filesDone, left, took: tookOf } = useTexts();
  const finished = isFinished(task);
  const transfer = task.type === "TRANSFER";
  const value = fraction(task);
  const took = tookOf(task);
  const now = task.bytes_per_second ?? 0;
  const remaining = left(task);
  return (
    <section className={styles.progress}>
      <div className={styles.numbers}>
        {transfer && (finished || task.files > 0) && <strong>{bytesDone(task)}</strong>}
        <span>{filesDone(task)}</span>
        {value !== null && !finished && task.files > 0 && <span>{Math.floor(value * 100)} %</span>}
        <span className={styles.right}>
          {!finished && state.kind === "running" && transfer && (
            <>
              {task.bytes_per_second !== undefined && <span>{rate(now)}</span>}
              {remaining && <span>{remaining}</span>}
            </>
          )}
          {finished && transfer && task.bytes_transferred > 0 && (
            <span>{t("progress.mean", { rate: rate(task.effective_bytes_per_second) })}</span>
          )}
          {finished && took !== null && <span>{took}</span>}
        </span>
      </div>
      <Bar
        label={t("progress.label", { task: title(task) })}
        value={value}
        text={transfer ? `${bytesDone(task)}, ${filesDone(task)}` : filesDone(task)}
        tone={state.kind === "running" ? "active" : state.tone}
      />
      <div className={styles.below}>
        <span>
          {finished && task.completion_time ? (
            <Trans
              t={t}
              i18nKey="progress.ended"
              components={{ time: <Time value={task.completion_time} exact /> }}
            />
          ) : (
            <Trans t={t} i18nKey="progress.asked" components={{ time: <Time value={task.request_time} /> }} />
          )}
        </span>
        <span>{task.faults > 0 ? t("progress.faults", { count: task.faults }) : t("progress.noFaults")}</span>
      </div>
    </section>
  );
}
