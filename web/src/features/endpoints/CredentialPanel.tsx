import { Link } from "@tanstack/react-router";
import { type FormEvent, useState } from "react";
import { Form, Tab, TabList, TabPanel, Tabs } from "react-aria-components";
import { useTranslation } from "react-i18next";
import styles from "@/features/endpoints/CredentialPanel.module.css";
import { DropArea } from "@/features/endpoints/DropArea";
import { PROXY_LIMIT, type ProxyProblem, proxyProblem } from "@/features/endpoints/proxy";
import {
  type Credential,
  type Endpoint,
  useCredential,
  useForgetCredential,
  useGiveProxy,
  useLogon,
} from "@/features/endpoints/queries";
import { StateBadge } from "@/features/endpoints/StateBadge";
import { Button } from "@/ui/Button";
import { ConfirmDialog } from "@/ui/Dialog";
import { TextField } from "@/ui/Field";
import { ago, time } from "@/ui/format";
import { Loading } from "@/ui/Loading";
import { Problem } from "@/ui/Problem";
import { Skeleton } from "@/ui/Skeleton";
import { say } from "@/ui/Toast";

interface Stored {
  message: string;
  subject: string;
  expiration_time: string;
}

/** The person's own credential for an endpoint: how it is, and how there is a new one. */
export function CredentialPanel({ endpoint }: { endpoint: Endpoint }) {
  const { t } = useTranslation("endpoints");
  const found = useCredential(endpoint.id);
  const [stored, setStored] = useState<Stored | null>(null);
  const credential = found.data;
  return (
    <section className={styles.card} aria-labelledby="credential">
      <div className={styles.head}>
        <h2 id="credential">{t("credential.title")}</h2>
        {credential ? <StateBadge credential={credential} /> : <Skeleton width="8rem" height="1.4rem" />}
      </div>
      {found.error && !credential && (
        <Problem title={t("credential.failed")} error={found.error} onRetry={() => void found.refetch()} />
      )}
      {found.isPending && (
        <Loading onRetry={() => void found.refetch()}>
          <Skeleton height="3rem" />
        </Loading>
      )}
      <div role="status" className={styles.news}>
        {stored && <Done stored={stored} />}
      </div>
      {credential && (
        <>
          <About credential={credential} endpoint={endpoint} />
          {credential.state !== "managed" && (
            <Ways endpoint={endpoint} renew={credential.state !== "none"} onStored={setStored} />
          )}
        </>
      )}
    </section>
  );
}

/** What was stored, and which tasks go on. */
function Done({ stored }: { stored: Stored }) {
  const { t } = useTranslation("endpoints");
  const goOn = /\d+ waiting/.test(stored.message);
  return (
    <div className={styles.done}>
      <strong>{stored.message}.</strong>
      <p>{t("credential.storedText", { subject: stored.subject, until: time(stored.expiration_time) })}</p>
      {goOn && (
        <p>
          <Link to="/activity">{t("credential.goOn")}</Link>
        </p>
      )}
    </div>
  );
}

function About({ credential, endpoint }: { credential: Credential; endpoint: Endpoint }) {
  const { t } = useTranslation("endpoints");
  const [asking, setAsking] = useState(false);
  const forget = useForgetCredential(endpoint.id);
  const { state, subject, expiration_time: ends, stored_time: given } = credential;
  if (state === "managed") return <p>{t("credential.managedText")}</p>;
  if (state === "none") return <p>{t("credential.noneText")}</p>;
  return (
    <>
      {state === "expired" && <p className={styles.bad}>{t("credential.expiredText")}</p>}
      {state === "moved" && <p className={styles.bad}>{t("credential.movedText")}</p>}
      {state === "expiring" && <p className={styles.warn}>{t("credential.expiringText")}</p>}
      <dl className={styles.facts}>
        <div>
          <dt>{t("credential.subject")}</dt>
          <dd>
            <code>{subject}</code>
          </dd>
        </div>
        {ends && (
          <div>
            <dt>{t(state === "expired" ? "credential.expired" : "credential.expires")}</dt>
            <dd>
              <time dateTime={ends}>{time(ends)}</time> <span className={styles.soft}>({ago(ends)})</span>
            </dd>
          </div>
        )}
        {given && (
          <div>
            <dt>{t("credential.stored")}</dt>
            <dd>
              <time dateTime={given}>{time(given)}</time>
            </dd>
          </div>
        )}
      </dl>
      <div>
        <Button size="small" variant="danger" onPress={() => setAsking(true)}>
          {t("credential.forget")}
        </Button>
      </div>
      <ConfirmDialog
        title={t("credential.forgetTitle", { name: endpoint.display_name })}
        isOpen={asking}
        onClose={() => setAsking(false)}
        confirm={t("credential.forget")}
        isBusy={forget.isPending}
        onConfirm={() =>
          forget.mutate(undefined, {
            onSuccess: () => {
              setAsking(false);
              say({ title: t("credential.forgotten") });
            },
          })
        }
      >
        <p>{t("credential.forgetText")}</p>
        {forget.error && <Problem title={t("credential.notRemoved")} error={forget.error} />}
      </ConfirmDialog>
    </>
  );
}

function Ways({
  endpoint,
  renew,
  onStored,
}: {
  endpoint: Endpoint;
  renew: boolean;
  onStored: (stored: Stored | null) => void;
}) {
  const { t } = useTranslation("endpoints");
  return (
    <div className={styles.ways}>
      <h3>{t(renew ? "credential.renew" : "credential.how")}</h3>
      <Tabs>
        <TabList aria-label={t("credential.how")} className={styles.tabs ?? ""}>
          <Tab id="myproxy" className={styles.tab ?? ""}>
            {t("credential.myproxy")}
          </Tab>
          <Tab id="file" className={styles.tab ?? ""}>
            {t("credential.file")}
          </Tab>
        </TabList>
        <TabPanel id="myproxy" className={styles.panel ?? ""}>
          <MyProxy endpoint={endpoint} onStored={onStored} />
        </TabPanel>
        <TabPanel id="file" className={styles.panel ?? ""}>
          <ProxyFile endpoint={endpoint} onStored={onStored} />
        </TabPanel>
      </Tabs>
    </div>
  );
}

type LogonField = "server" | "username" | "passphrase" | "lifetime";

function MyProxy({ endpoint, onStored }: { endpoint: Endpoint; onStored: (stored: Stored | null) => void }) {
  const { t } = useTranslation("endpoints");
  const logon = useLogon(endpoint.id);
  const [entered, setEntered] = useState({
    server: "",
    username: "",
    passphrase: "",
    lifetime: "",
    credentialName: "",
  });
  const [wrong, setWrong] = useState<ReadonlySet<LogonField>>(new Set());
  const field = (name: keyof typeof entered) => ({
    value: entered[name],
    onChange: (value: string) => {
      setEntered({ ...entered, [name]: value });
      setWrong(new Set([...wrong].filter((one) => one !== name)));
    },
  });
  const error = (name: LogonField) => (wrong.has(name) ? t(`credential.wrong.${name}`) : undefined);

  const send = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const found = new Set<LogonField>();
    for (const name of ["server", "username", "passphrase"] as const)
      if (!entered[name].trim()) found.add(name);
    if (entered.lifetime.trim() && !/^[1-9]\d{0,4}$/.test(entered.lifetime.trim())) found.add("lifetime");
    setWrong(found);
    const form = event.currentTarget;
    if (found.size > 0) {
      setTimeout(() => form.querySelector<HTMLElement>("[data-invalid] input")?.focus());
      return;
    }
    onStored(null);
    logon.mutate(
      {
        server: entered.server.trim(),
        username: entered.username.trim(),
        passphrase: entered.passphrase,
        ...(entered.lifetime.trim() ? { lifetime_h: Number(entered.lifetime) } : {}),
        ...(entered.credentialName.trim() ? { credential_name: entered.credentialName.trim() } : {}),
      },
      {
        onSuccess: onStored,
        // whatever came of it, the pass phrase is not kept
        onSettled: () => {
          setEntered((now) => ({ ...now, passphrase: "" }));
        },
      },
    );
  };

  return (
    <Form className={styles.form ?? ""} validationBehavior="aria" onSubmit={send}>
      <TextField
        label={t("credential.server")}
        hint={t("credential.serverHint")}
        error={error("server")}
        mono
        autoComplete="off"
        spellCheck="false"
        {...field("server")}
      />
      <div className={styles.pair}>
        <TextField
          label={t("credential.username")}
          error={error("username")}
          autoComplete="off"
          spellCheck="false"
          {...field("username")}
        />
        <TextField
          label={t("credential.passphrase")}
          error={error("passphrase")}
          type="password"
          autoComplete="off"
          {...field("passphrase")}
        />
      </div>
      <p className={styles.hint}>{t("credential.passphraseHint")}</p>
      <div className={styles.pair}>
        <TextField
          label={t("credential.lifetime")}
          hint={t("credential.lifetimeHint")}
          error={error("lifetime")}
          inputMode="numeric"
          autoComplete="off"
          {...field("lifetime")}
        />
        <TextField
          label={t("credential.credentialName")}
          hint={t("credential.credentialNameHint")}
          autoComplete="off"
          {...field("credentialName")}
        />
      </div>
      {logon.error && <Problem title={t("credential.notStored")} error={logon.error} />}
      <div>
        <Button type="submit" variant="primary" isPending={logon.isPending}>
          {t("credential.logon")}
        </Button>
      </div>
    </Form>
  );
}

function ProxyFile({
  endpoint,
  onStored,
}: {
  endpoint: Endpoint;
  onStored: (stored: Stored | null) => void;
}) {
  const { t } = useTranslation("endpoints");
  const give = useGiveProxy(endpoint.id);
  const [text, setText] = useState("");
  const [wrong, setWrong] = useState<ProxyProblem | null>(null);

  const send = (proxy: string) => {
    const problem = proxyProblem(proxy);
    setWrong(problem);
    if (problem) return;
    onStored(null);
    give.mutate(proxy, {
      onSuccess: (stored) => {
        setText("");
        onStored(stored);
      },
    });
  };

  return (
    <div className={styles.form}>
      <DropArea
        label={t("credential.drop")}
        buttons={[{ label: t("credential.choose") }]}
        onFiles={([file]) => {
          // what is large is no proxy, and too much for a field
          if (file) send(file.text.slice(0, PROXY_LIMIT + 1));
        }}
      >
        {t("credential.dropText")}
      </DropArea>
      <TextField
        label={t("credential.paste")}
        error={wrong ? t(`credential.wrong.${wrong}`) : undefined}
        lines={5}
        mono
        spellCheck="false"
        autoComplete="off"
        value={text}
        onChange={(next) => {
          setText(next);
          setWrong(null);
        }}
      />
      {give.error && <Problem title={t("credential.notStored")} error={give.error} />}
      <div>
        <Button variant="primary" onPress={() => send(text)} isPending={give.isPending}>
          {t("credential.give")}
        </Button>
      </div>
    </div>
  );
}
