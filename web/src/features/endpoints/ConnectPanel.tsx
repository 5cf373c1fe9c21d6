import { useState } from "react";
import { useTranslation } from "react-i18next";
import { connectionOf, hasFiles } from "@/api/endpoints";
import { ConnectionBadge } from "@/features/endpoints/ConnectionBadge";
import page from "@/features/endpoints/EndpointPage.module.css";
import { type Endpoint, useSetupKey } from "@/features/endpoints/queries";
import { SetupCommands } from "@/features/endpoints/SetupCommands";
import { Button } from "@/ui/Button";
import { ConfirmDialog } from "@/ui/Dialog";
import { Problem } from "@/ui/Problem";

/** A computer that is reached through a relay: whether it is there, and how it joins anew. */
export function ConnectPanel({ endpoint, mine }: { endpoint: Endpoint; mine: boolean }) {
  const { t } = useTranslation("endpoints");
  const key = useSetupKey(endpoint.id);
  const [asking, setAsking] = useState(false);
  const state = connectionOf(endpoint);
  const personal = hasFiles(endpoint);
  return (
    <section className={page.card} aria-labelledby="connection">
      <div className={page.head}>
        <h2 id="connection">{t("connection.title")}</h2>
        <ConnectionBadge state={state} />
      </div>
      <p className={page.soft}>{t(`connection.${state}Text`)}</p>
      {key.data !== undefined && <SetupCommands setupKey={key.data} personal={personal} />}
      {mine && (
        <div>
          <Button onPress={() => setAsking(true)}>{t("connection.newKey")}</Button>
        </div>
      )}
      <ConfirmDialog
        title={t("connection.newKeyTitle", { name: endpoint.display_name })}
        isOpen={asking}
        onClose={() => setAsking(false)}
        confirm={t("connection.newKeyConfirm")}
        isBusy={key.isPending}
        onConfirm={() => key.mutate(undefined, { onSuccess: () => setAsking(false) })}
      >
        <p>{t(personal ? "connection.newKeyText" : "connection.newKeyTextServer")}</p>
        {key.error && <Problem title={t("connection.newKeyFailed")} error={key.error} />}
      </ConfirmDialog>
    </section>
  );
}
