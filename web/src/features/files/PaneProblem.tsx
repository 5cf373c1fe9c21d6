import { useState } from "react";
import { Link } from "react-aria-components";
import { useTranslation } from "react-i18next";
import styles from "@/features/files/PaneProblem.module.css";
import { requestIdOf, troubleOf } from "@/features/files/problems";
import { nearest } from "@/features/files/queries";
import type { Pane } from "@/features/files/usePane";
import { Button } from "@/ui/Button";
import { ErrorNote } from "@/ui/ErrorNote";

/** Why a folder is not shown, and the way on. */
export function PaneProblem({
  pane,
  error,
  isCovering,
}: {
  pane: Pane;
  error: Error;
  /** Nothing else is to be seen; otherwise it stands over an older listing. */
  isCovering: boolean;
}) {
  const { t } = useTranslation("files");
  const trouble = troubleOf(error);
  return (
    <div className={isCovering ? styles.covering : styles.above}>
      <ErrorNote
        title={t(`problem.${trouble}.title`, { name: pane.name })}
        requestId={requestIdOf(error)}
        action={
          <div className={styles.actions}>
            {(trouble === "credential" || trouble === "trust") && (
              <Link href={`/endpoints/${pane.endpointId}`}>{t("problem.toEndpoint")}</Link>
            )}
            {(trouble === "missing" || trouble === "file" || trouble === "permission") && (
              <ToParent pane={pane} />
            )}
            {trouble !== "gone" && (
              <Button size="small" onPress={() => void pane.listing.refetch()}>
                {t("problem.retry")}
              </Button>
            )}
          </div>
        }
      >
        <p>{t(`problem.${trouble}.text`)}</p>
        {trouble !== "gone" && trouble !== "offline" && (
          <details className={styles.details}>
            <summary>{t("problem.details")}</summary>
            {error.message}
          </details>
        )}
      </ErrorNote>
    </div>
  );
}

function ToParent({ pane }: { pane: Pane }) {
  const { t } = useTranslation("files");
  const [isLooking, setLooking] = useState(false);
  const { endpointId, path } = pane;
  if (endpointId === null || path === null) return null;
  return (
    <Button
      size="small"
      variant="primary"
      isPending={isLooking}
      onPress={async () => {
        setLooking(true);
        const folder = await nearest(endpointId, path).catch(() => "/");
        setLooking(false);
        pane.go(folder);
      }}
    >
      {t("problem.nearest")}
    </Button>
  );
}
