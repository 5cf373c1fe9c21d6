import { CircleCheck, CircleX, Minus } from "lucide-react";
import { useTranslation } from "react-i18next";
import type { EndpointTest, Step } from "@/features/endpoints/endpointTest";
import styles from "@/features/endpoints/TestResult.module.css";
import { Button } from "@/ui/Button";
import { classes } from "@/ui/classes";
import { Skeleton } from "@/ui/Skeleton";
import hidden from "@/ui/unseen.module.css";

const SIZE = 18;
const STEPS = 9;

/** The steps of a test, up to the one that failed: what is wrong there, and what can be done. */
export function TestResult({
  result,
  stale = false,
  onSubject,
}: {
  result: EndpointTest;
  /** It was of something else than what the form says now. */
  stale?: boolean;
  /** The server has another name than was expected: take that. */
  onSubject?: (subject: string) => void;
}) {
  const { t } = useTranslation("endpoints");
  const certificate = result.DATA.find((one) => one.step === "certificate");
  const subject = certificate?.state === "failed" && result.host_proven ? result.host_subject : null;
  return (
    <div className={classes(styles.result, stale && styles.stale)} role="status">
      <p className={result.ok ? styles.good : styles.bad}>
        {result.ok ? (
          <CircleCheck size={SIZE} aria-hidden="true" />
        ) : (
          <CircleX size={SIZE} aria-hidden="true" />
        )}
        <strong>{t(result.ok ? "test.ok" : "test.failed")}</strong>
        {stale && <span className={styles.soft}>{t("test.stale")}</span>}
      </p>
      <ol className={styles.steps}>
        {result.DATA.map((one) => (
          <StepRow key={one.step} one={one} />
        ))}
      </ol>
      {subject && onSubject && (
        <div className={styles.subject}>
          <p>
            {t("test.hostSubject")} <code>{subject}</code>
          </p>
          <Button size="small" onPress={() => onSubject(subject)}>
            {t("test.useSubject")}
          </Button>
        </div>
      )}
    </div>
  );
}

function StepRow({ one }: { one: Step }) {
  const { t } = useTranslation("endpoints");
  return (
    <li className={classes(styles.step, styles[one.state])}>
      <span className={styles.icon}>
        {one.state === "ok" ? (
          <CircleCheck size={SIZE} aria-hidden="true" />
        ) : one.state === "failed" ? (
          <CircleX size={SIZE} aria-hidden="true" />
        ) : (
          <Minus size={SIZE} aria-hidden="true" />
        )}
      </span>
      <div className={styles.said}>
        <p>
          <strong>{t(`test.step.${one.step}`)}</strong>{" "}
          <span className={hidden.unseen}>{t(`test.state.${one.state}`)}: </span>
          <span className={styles.message}>{one.message}</span>
        </p>
        {one.state === "failed" && one.details && <pre className={styles.details}>{one.details}</pre>}
        {one.state !== "ok" && one.advice && <p className={styles.advice}>{one.advice}</p>}
      </div>
      {one.state !== "skipped" && one.ms !== null && (
        <span className={styles.ms}>{t("test.ms", { ms: one.ms })}</span>
      )}
    </li>
  );
}

/** Keeps the place of the steps. */
export function TestRunning() {
  const { t } = useTranslation("endpoints");
  return (
    <div className={styles.result} role="status">
      <p className={styles.soft}>{t("test.running")}</p>
      <ol className={styles.steps} aria-hidden="true">
        {Array.from({ length: STEPS }, (_, index) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: they are all alike
          <li key={index} className={styles.step}>
            <span className={styles.icon}>
              <Skeleton width="18px" height="18px" />
            </span>
            <div className={styles.said}>
              <p>
                <Skeleton width={`${6 + (index % 3)}rem`} />
              </p>
            </div>
          </li>
        ))}
      </ol>
    </div>
  );
}
