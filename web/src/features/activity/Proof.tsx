import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { ShieldAlert, ShieldCheck } from "lucide-react";
import type { LiveTask } from "@/api/taskMerge";
import { firstFinishedQuery } from "@/api/tasks";
import styles from "@/features/activity/Proof.module.css";
import { useTexts } from "@/features/activity/texts";
import { algorithmsOf, type Evidence } from "@/features/activity/words";
import { bytes, count } from "@/ui/format";

/** How well it is proved that what arrived is what was sent. */
export function Proof({ task, evidence }: { task: LiveTask; evidence: Evidence }) {
  const { t } = useTexts();
  const { data } = useQuery({ ...firstFinishedQuery(task.task_id), enabled: evidence.kind === "all" });
  const good = evidence.kind === "all" || evidence.kind === "nothing";
  const Icon = good ? ShieldCheck : ShieldAlert;
  const whole = data !== undefined && data.DATA.length >= (task.files_transferred ?? 0);
  return (
    <div className={styles.proof} data-good={good}>
      <Icon size={22} aria-hidden="true" />
      <div>
        <strong>
          {t(evidence.kind === "all" ? "evidence.title" : good ? "evidence.nothing" : "evidence.notVerified")}
        </strong>
        {evidence.kind !== "nothing" && (
          <p>
            {sentence()} {data && !whole && t("evidence.byFirst", { of: count(data.DATA.length) })}
            {data &&
              algorithmsOf(data.DATA)
                .map(({ algorithm, files }) => {
                  const counted = t("progress.files", { count: files });
                  return algorithm
                    ? t("evidence.by", { algorithm, files: counted })
                    : t("evidence.byParts", { files: counted });
                })
                .join("; ")}
          </p>
        )}
        {evidence.kind === "all" && (
          <Link
            to="/activity/$taskId"
            params={{ taskId: task.task_id }}
            search={{ tab: "files" }}
            resetScroll={false}
          >
            {t("evidence.list")}
          </Link>
        )}
      </div>
    </div>
  );

  function sentence(): string {
    switch (evidence.kind) {
      case "all":
        return t(task.status === "SUCCEEDED" ? "evidence.all" : "evidence.allFailed", {
          count: evidence.files,
          bytes: bytes(evidence.bytes),
        });
      case "some":
        return t("evidence.some", { bytes: bytes(evidence.bytes), of: bytes(evidence.of) });
      case "none":
        return t("evidence.none", { count: evidence.files });
      case "nothing":
        return "";
    }
  }
}
