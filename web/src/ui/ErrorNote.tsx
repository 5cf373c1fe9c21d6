import { TriangleAlert } from "lucide-react";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";
import styles from "@/ui/ErrorNote.module.css";

/** What failed, why, and what can be done; `requestId` is what the operator finds in the log. */
export function ErrorNote({
  title,
  children,
  requestId,
  action,
}: {
  title: string;
  children?: ReactNode;
  requestId?: string | null | undefined;
  action?: ReactNode;
}) {
  const { t } = useTranslation();
  return (
    <div role="alert" className={styles.note}>
      <TriangleAlert size={20} aria-hidden="true" />
      <div className={styles.said}>
        <strong>{title}</strong>
        {children && <div>{children}</div>}
        {requestId && <code className={styles.request}>{t("error.requestId", { id: requestId })}</code>}
        {action && <div className={styles.action}>{action}</div>}
      </div>
    </div>
  );
}
