import { useTranslation } from "react-i18next";
import { ApiProblem } from "@/api/client";
import { Button } from "@/ui/Button";
import { ErrorNote } from "@/ui/ErrorNote";

/** A question to the service that failed, in its words, with the way to ask again. */
export function Problem({ title, error, onRetry }: { title: string; error: Error; onRetry: () => void }) {
  const { t } = useTranslation();
  return (
    <ErrorNote
      title={title}
      requestId={error instanceof ApiProblem ? error.requestId : null}
      action={
        <Button size="small" onPress={onRetry}>
          {t("error.retry")}
        </Button>
      }
    >
      {problemText(error, t("error.unreachable"))}
    </ErrorNote>
  );
}

export function problemText(error: Error, unreachable: string): string {
  return error instanceof ApiProblem && error.status === 0 ? unreachable : error.message;
}
