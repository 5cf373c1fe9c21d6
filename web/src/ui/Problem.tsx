import { useTranslation } from "react-i18next";
import { Button } from "@/ui/Button";
import { ErrorNote } from "@/ui/ErrorNote";

/** As the service's client throws it. */
export interface Failure extends Error {
  /** Of the answer; 0: there was none. */
  status?: number;
  requestId?: string | null;
}

/** What was asked of the service and failed: in its own words, with the way to ask again if there is one. */
export function Problem({ title, error, onRetry }: { title: string; error: Failure; onRetry?: () => void }) {
  const { t } = useTranslation();
  return (
    <ErrorNote
      title={title}
      requestId={error.requestId}
      action={
        onRetry && (
          <Button size="small" onPress={onRetry}>
            {t("error.retry")}
          </Button>
        )
      }
    >
      {problemText(error, t("error.unreachable"))}
    </ErrorNote>
  );
}

export function problemText(error: Failure, unreachable: string): string {
  return error.status === 0 ? unreachable : error.message;
}
