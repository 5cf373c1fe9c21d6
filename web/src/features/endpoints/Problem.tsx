import { useTranslation } from "react-i18next";
import { ApiProblem } from "@/api/client";
import { Button } from "@/ui/Button";
import { ErrorNote } from "@/ui/ErrorNote";

/** An answer that is not the one hoped for, in the API's words, and a way to try again. */
export function Problem({ title, error, onRetry }: { title: string; error: unknown; onRetry?: () => void }) {
  const { t } = useTranslation();
  const unreachable = error instanceof ApiProblem && error.status === 0;
  return (
    <ErrorNote
      title={title}
      requestId={error instanceof ApiProblem ? error.requestId : null}
      action={
        onRetry && (
          <Button size="small" onPress={onRetry}>
            {t("error.retry")}
          </Button>
        )
      }
    >
      {unreachable ? t("error.unreachable") : error instanceof Error ? error.message : null}
    </ErrorNote>
  );
}
