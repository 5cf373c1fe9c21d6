import { useQuery } from "@tanstack/react-query";
import { CircleCheck } from "lucide-react";
import type { LiveTask } from "@/api/taskMerge";
import { type FidelityReport, fidelityQuery } from "@/api/tasks";
import styles from "@/features/activity/Fidelity.module.css";
import { useTexts } from "@/features/activity/texts";
import activity from "@/i18n/en/activity.json";
import { EmptyState } from "@/ui/EmptyState";
import { Problem } from "@/ui/Problem";
import { Skeleton } from "@/ui/Skeleton";

type Finding = FidelityReport["DATA"][number];

/** What could not be carried over, in words. */
export function Fidelity({ task }: { task: LiveTask }) {
  const { t } = useTexts();
  const transfer = task.type === "TRANSFER";
  const found = useQuery({ ...fidelityQuery(task.task_id), enabled: transfer });
  if (!transfer) return <EmptyState title={t("fidelity.delete")}>{t("fidelity.deleteText")}</EmptyState>;
  if (found.isError)
    return (
      <Problem title={t("fidelity.failedTitle")} error={found.error} onRetry={() => void found.refetch()} />
    );
  if (found.isPending) return <Skeleton height="14rem" />;
  const { DATA: findings, complete, never_carried: never } = found.data;
  const lost = findings.filter(({ count: number }) => number !== null && number > 0);
  const unknown = findings.filter(({ known }) => known === "not_known");
  const fine = findings.filter((one) => !lost.includes(one) && !unknown.includes(one));
  return (
    <div className={styles.report}>
      <p className={styles.soft}>
        {t("fidelity.intro")} {t(complete ? "fidelity.complete" : "fidelity.incomplete")}
      </p>
      {lost.length === 0 && complete && (
        <p className={styles.clean}>
          <CircleCheck size={20} aria-hidden="true" />
          <span>
            <strong>{t("fidelity.clean")}</strong> {t("fidelity.cleanText")}
          </span>
        </p>
      )}
      {lost.length > 0 && (
        <section aria-labelledby="lost">
          <h2 id="lost">{t("fidelity.lost")}</h2>
          <ul className={styles.lost}>
            {lost.map((one) => (
              <li key={one.kind}>
                <Loss finding={one} />
              </li>
            ))}
          </ul>
        </section>
      )}
      <Kinds title={t("fidelity.fine")} findings={complete ? fine : []} />
      <Kinds title={t("fidelity.unknown")} findings={unknown} />
      <section aria-labelledby="never">
        <h2 id="never">{t("fidelity.never")}</h2>
        <ul className={styles.kinds}>
          {never.map((one) => (
            <li key={one}>{isKnown(one) ? t(`fidelity.neverWord.${one}`) : one}</li>
          ))}
        </ul>
      </section>
    </div>
  );
}

function isKnown(word: string): word is keyof typeof activity.fidelity.neverWord {
  return word in activity.fidelity.neverWord;
}

function Loss({ finding }: { finding: Finding }) {
  const { t } = useTexts();
  return (
    <>
      <div className={styles.line}>
        <span>{t(`fidelity.kind.${finding.kind}`)}</span>
        <strong>{t(`fidelity.${finding.known}`, { number: finding.count ?? 0 })}</strong>
      </div>
      {finding.examples.length > 0 && (
        <details>
          <summary>{t("fidelity.examples")}</summary>
          <ul className={styles.examples}>
            {finding.examples.map(({ source_path: path, details }) => (
              <li key={`${path}\n${details}`}>
                <code dir="auto">{path}</code> {details && <span className={styles.soft}>{details}</span>}
              </li>
            ))}
          </ul>
        </details>
      )}
    </>
  );
}

function Kinds({ title, findings }: { title: string; findings: Finding[] }) {
  const { t } = useTexts();
  if (findings.length === 0) return null;
  return (
    <section aria-label={title}>
      <h2>{title}</h2>
      <ul className={styles.kinds}>
        {findings.map(({ kind }) => (
          <li key={kind}>{t(`fidelity.kind.${kind}`)}</li>
        ))}
      </ul>
    </section>
  );
}
