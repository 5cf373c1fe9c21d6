/** Pages for who is not inside: nobody logged in, nothing there, nothing that answers, or something that broke. */

import { useRouter } from "@tanstack/react-router";
import { type ReactNode, useEffect } from "react";
import { useTranslation } from "react-i18next";
import { LoginNeeded, login, loginHasEnded, metaValue, Unreachable } from "@/api/session";
import styles from "@/app/Outside.module.css";
import { Head } from "@/app/Shell";
import { type TitleKey, titled } from "@/app/title";
import { Button, buttonClasses } from "@/ui/Button";
import { Loading } from "@/ui/Loading";

function Outside({
  title,
  children,
  action,
  name,
}: {
  title: string;
  children: ReactNode;
  action: ReactNode;
  name: TitleKey;
}) {
  const { t } = useTranslation();
  useEffect(() => titled(t(name)), [t, name]);
  return (
    <>
      <Head />
      <main id="content" className={styles.place} tabIndex={-1}>
        <div className={styles.card}>
          <h1>{title}</h1>
          <p>{children}</p>
          <div className={styles.action}>{action}</div>
        </div>
      </main>
    </>
  );
}

/** For who is not logged in: what this is, and the way in. */
export function LoginPage() {
  const { t } = useTranslation();
  if (loginHasEnded())
    return (
      <Outside name="nav.login" title={t("login.ended")} action={<LoginButton text={t("login.again")} />}>
        {t("login.endedText")}
      </Outside>
    );
  return (
    <Outside name="nav.login" title={t("login.title")} action={<LoginButton text={t("login.button")} />}>
      {t("login.text", { service: metaValue("service") })}
    </Outside>
  );
}

export function LoginFailed() {
  const { t } = useTranslation();
  return (
    <Outside name="nav.login" title={t("login.failed")} action={<LoginButton text={t("login.again")} />}>
      {t("login.failedText")}
    </Outside>
  );
}

function LoginButton({ text }: { text: string }) {
  return (
    <Button variant="primary" onPress={() => void login()} autoFocus>
      {text}
    </Button>
  );
}

export function NotFound() {
  const { t } = useTranslation();
  return (
    <Outside
      name="error.notFound"
      title={t("error.notFound")}
      action={
        <a href="/" className={buttonClasses("primary")}>
          {t("error.home")}
        </a>
      }
    >
      {t("error.notFoundText")}
    </Outside>
  );
}

/** Whatever kept a page from being shown. */
export function Problem({ error }: { error: unknown }) {
  const { t } = useTranslation();
  const router = useRouter();
  if (error instanceof LoginNeeded) return <LoginPage />;
  if (error instanceof Unreachable)
    return (
      <Outside
        name="nav.login"
        title={t("connection.title")}
        action={
          <Button variant="primary" onPress={() => void router.invalidate()} autoFocus>
            {t("error.retry")}
          </Button>
        }
      >
        {t("connection.text")}
      </Outside>
    );
  return <Broken />;
}

export function Broken() {
  const { t } = useTranslation();
  return (
    <Outside
      name="error.crashed"
      title={t("error.crashed")}
      action={
        <Button variant="primary" onPress={() => location.reload()} autoFocus>
          {t("error.reload")}
        </Button>
      }
    >
      {t("error.crashedText")}
    </Outside>
  );
}

/** While it is found out who is logged in. */
export function Arriving() {
  return (
    <>
      <Head />
      <main id="content" className={styles.place} tabIndex={-1}>
        <Loading onRetry={() => location.reload()} />
      </main>
    </>
  );
}
