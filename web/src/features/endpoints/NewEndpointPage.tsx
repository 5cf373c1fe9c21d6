import { Link, useNavigate } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { EndpointForm } from "@/features/endpoints/EndpointForm";
import styles from "@/features/endpoints/EndpointPage.module.css";
import { NOTHING } from "@/features/endpoints/form";
import { useCreate } from "@/features/endpoints/queries";
import { buttonClasses } from "@/ui/Button";
import { say } from "@/ui/Toast";

export function NewEndpointPage() {
  const { t } = useTranslation("endpoints");
  const navigate = useNavigate();
  const create = useCreate();
  return (
    <div className={styles.page}>
      <div>
        <h1>{t("form.newTitle")}</h1>
        <p className={styles.lead}>{t("form.newLead")}</p>
      </div>
      <EndpointForm
        begin={NOTHING}
        kept={false}
        submit={t("form.register")}
        isBusy={create.isPending}
        error={create.error}
        cancel={
          <Link to="/endpoints" className={buttonClasses()}>
            {t("cancel", { ns: "common" })}
          </Link>
        }
        onSubmit={(body) =>
          create.mutate(body, {
            onSuccess: ({ id }) => {
              say({
                title: t("form.registered", { name: body.display_name }),
                text: t("form.registeredText"),
              });
              void navigate({ to: "/endpoints/$endpointId", params: { endpointId: id } });
            },
          })
        }
      />
    </div>
  );
}
