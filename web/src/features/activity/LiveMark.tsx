import { useTranslation } from "react-i18next";
import type { Connection } from "@/api/live";
import styles from "@/features/activity/LiveMark.module.css";

/** Whether what is shown is of now. */
export function LiveMark({ connection }: { connection: Connection }) {
  const { t } = useTranslation("activity");
  return (
    <span className={styles.mark} data-connection={connection} role="status">
      <span className={styles.dot} aria-hidden="true" />
      {t(`live.${connection}`)}
    </span>
  );
}
