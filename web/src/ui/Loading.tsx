import { type ReactNode, useEffect, useState } from "react";
import { useTranslation } from "react-i18next";
import { Button } from "@/ui/Button";
import styles from "@/ui/Loading.module.css";
import hidden from "@/ui/unseen.module.css";

/** From when on a wait is worth a word, and when it is a fault. */
const SLOW_MS = 4_000;
const STUCK_MS = 20_000;
/** What is shown and gone at once only flickers. */
const SILENT_MS = 300;

type Stage = "silent" | "waiting" | "slow" | "stuck";

/**
 * A wait with an end: after a while it says that it takes long, and then that something is wrong, with a way to try
 * again. `children` keep the place of what is to come.
 */
export function Loading({ onRetry, children }: { onRetry: () => void; children?: ReactNode }) {
  const { t } = useTranslation();
  const [stage, setStage] = useState<Stage>("silent");
  useEffect(() => {
    const timers = (
      [
        ["waiting", SILENT_MS],
        ["slow", SLOW_MS],
        ["stuck", STUCK_MS],
      ] as const
    ).map(([next, after]) => setTimeout(() => setStage(next), after));
    return () => timers.forEach(clearTimeout);
  }, []);
  return (
    <div className={styles.loading} aria-busy={stage !== "stuck"}>
      {stage !== "stuck" && children}
      <div role="status" className={styles.said}>
        {stage !== "silent" && stage !== "stuck" && !children && <span className={styles.turning} />}
        {stage === "waiting" && <span className={children ? hidden.unseen : ""}>{t("loading")}</span>}
        {stage === "slow" && t("wait.slow")}
        {stage === "stuck" && (
          <>
            <strong>{t("wait.stuck")}</strong>
            <span>{t("wait.stuckText")}</span>
            <Button onPress={onRetry}>{t("error.retry")}</Button>
          </>
        )}
      </div>
    </div>
  );
}
