import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { Trans } from "react-i18next";
import type { LiveTask } from "@/api/taskMerge";
import { newestEventQuery } from "@/api/tasks";
import { Proof } from "@/features/activity/Proof";
import styles from "@/features/activity/StateNote.module.css";
import {
  messages,
  parseDetails,
  type State,
  said,
  sentence,
  troubledEndpoint,
} from "@/features/activity/state";
import { useTexts } from "@/features/activity/texts";
import { evidenceOf } from "@/features/activity/words";
import { Time } from "@/ui/Time";

/** What happens now, why, and what one can do. */
export function StateNote({ task, state }: { task: LiveTask; state: State }) {
  const { t, next } = useTexts();
  const { kind, tone } = state;
  // of a task that has failed the last error tells more than its fatal_error
  const { data: lastError } = useQuery({
    ...newestEventQuery(task.task_id, true),
    enabled: kind === "failed",
  });
  const details = kind === "failed" ? parseDetails(lastError?.details) : state.details;
  const evidence = evidenceOf(task);
  const params = { taskId: task.task_id };
  const endpoint = troubledEndpoint(task, details);
  const since = said(details, "since");
  const tried = said(details, "tried_next");
  const other = kind === "waitingTask" ? said(details, "task") : undefined;
  const error =
    said(details, "error") ??
    (kind === "held" ? messages(details) : undefined) ??
    (kind === "failed" ? task.fatal_error?.description : undefined);
  const advice = kind === "paused" ? undefined : said(details, "advice");
  const who = said(details, "who_can_fix");
  return (
    <section className={styles.note} data-tone={tone} data-state={kind}>
      <p className={styles.main}>
        {next(task, state)}
        {since && (
          <span className={styles.soft}>
            {" "}
            <Trans
              t={t}
              i18nKey={
                tried
                  ? "next.sinceTried"
                  : kind === "paused" || kind === "held"
                    ? "next.pausedSince"
                    : "next.since"
              }
              components={{ since: <Time value={since} />, tried: <Time value={tried ?? since} /> }}
            />
          </span>
        )}
      </p>
      {(error || advice || said(details, "path")) && (
        <dl className={styles.details}>
          {error && <Line name={t("trouble.reason")}>{sentence(error)}</Line>}
          {said(details, "path") && (
            <Line name={t("trouble.path")}>
              <code>{said(details, "path")}</code>
            </Line>
          )}
          {said(details, "server_said") && (
            <Line name={t("trouble.server")}>
              <code>{said(details, "server_said")}</code>
            </Line>
          )}
          {advice && <Line name={t("trouble.do")}>{advice}</Line>}
          {advice && who && who !== "you" && who !== "nobody needs to" && (
            <Line name={t("trouble.who")}>{who}</Line>
          )}
        </dl>
      )}
      {evidence && <Proof task={task} evidence={evidence} />}
      <Ways>
        {kind === "credential" && endpoint && (
          <Link to="/endpoints/$endpointId" params={{ endpointId: endpoint.id }} className={styles.call}>
            {t("trouble.renew")}
          </Link>
        )}
        {other?.includes("-") && (
          <Link to="/activity/$taskId" params={{ taskId: other }}>
            {t("trouble.other")}
          </Link>
        )}
        {kind === "skipped" && (
          <Link
            to="/activity/$taskId"
            params={params}
            search={{ tab: "files", files: "skipped" }}
            resetScroll={false}
          >
            {t("trouble.skipped")}
          </Link>
        )}
        {["failed", "expired", "retrying"].includes(kind) && (
          <Link
            to="/activity/$taskId"
            params={params}
            search={{ tab: "events", errors: true }}
            resetScroll={false}
          >
            {t("trouble.events")}
          </Link>
        )}
      </Ways>
    </section>
  );
}

function Line({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function Ways({ children }: { children: ReactNode[] }) {
  return children.some(Boolean) ? <p className={styles.ways}>{children}</p> : null;
}
