import { Link } from "@tanstack/react-router";
import { type FormEvent, useState } from "react";
import { Form } from "react-aria-components";
import { useTranslation } from "react-i18next";
import { connectionOf } from "@/api/endpoints";
import { ConnectionBadge } from "@/features/endpoints/ConnectionBadge";
import styles from "@/features/endpoints/ConnectPage.module.css";
import page from "@/features/endpoints/EndpointPage.module.css";
import { type Created, useCreateComputer, useEndpoint } from "@/features/endpoints/queries";
import { SetupCommands } from "@/features/endpoints/SetupCommands";
import { Button, buttonClasses } from "@/ui/Button";
import { TextField } from "@/ui/Field";
import { Problem } from "@/ui/Problem";

/** A computer joins: a name, two commands to type there, and what has become of them. */
export function ConnectPage() {
  const { t } = useTranslation("endpoints");
  const [made, setMade] = useState<Created | null>(null);
  return (
    <div className={page.page}>
      <div>
        <h1>{t("connect.title")}</h1>
        <p className={page.lead}>{t("connect.lead")}</p>
      </div>
      {made === null ? <Naming onMade={setMade} /> : <Joining made={made} />}
    </div>
  );
}

function Naming({ onMade }: { onMade: (made: Created) => void }) {
  const { t } = useTranslation("endpoints");
  const create = useCreateComputer();
  const [name, setName] = useState("");
  const [missing, setMissing] = useState(false);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    setMissing(!name.trim());
    if (name.trim()) create.mutate(name.trim(), { onSuccess: onMade });
  };
  return (
    <Form className={styles.naming ?? ""} validationBehavior="aria" onSubmit={submit}>
      <TextField
        label={t("form.name")}
        hint={t("connect.nameHint")}
        error={missing ? t("form.wrong.name") : undefined}
        value={name}
        onChange={setName}
        maxLength={128}
        isRequired
        autoComplete="off"
      />
      {create.error && <Problem title={t("connect.failed")} error={create.error} />}
      <div className={page.actions}>
        <Button type="submit" variant="primary" isPending={create.isPending}>
          {t("connect.go")}
        </Button>
        <Link to="/endpoints" className={buttonClasses()}>
          {t("cancel", { ns: "common" })}
        </Link>
      </div>
    </Form>
  );
}

function Joining({ made }: { made: Created }) {
  const { t } = useTranslation("endpoints");
  const found = useEndpoint(made.id);
  const name = found.data?.display_name ?? "";
  const state = found.data && connectionOf(found.data);
  const connected = state !== undefined && state !== "away";
  return (
    <section className={page.card} aria-labelledby="joining">
      <h2 id="joining">{t("connect.onIt", { name })}</h2>
      <SetupCommands setupKey={made.setupKey} personal />
      <div role="status" className={styles.state}>
        {state && <ConnectionBadge state={state} />}
        <span>{t(connected ? "connect.joined" : "connect.waiting", { name })}</span>
      </div>
      <div className={page.actions}>
        {connected && (
          <a href={`/files?origin_id=${made.id}`} className={buttonClasses("primary")}>
            {t("page.open")}
          </a>
        )}
        <Link to="/endpoints/$endpointId" params={{ endpointId: made.id }} className={buttonClasses()}>
          {t("connect.toPage")}
        </Link>
      </div>
    </section>
  );
}
