import { useTranslation } from "react-i18next";
import { login, metaValue } from "@/api/session";
import styles from "@/app/LoginPage.module.css";
import { Button } from "@/ui/Button";

/** For who is not logged in: what this is, and the way in. */
export function LoginPage() {
  const { t } = useTranslation();
  return (
    <main className={styles.place}>
      <div className={styles.card}>
        <img src="/v2/web/static/mark.svg" alt="" width="56" height="56" />
        <h1>{t("login.title")}</h1>
        <p>{t("login.text", { service: metaValue("service") })}</p>
        <Button variant="primary" onPress={() => void login()} autoFocus>
          {t("login.button")}
        </Button>
      </div>
    </main>
  );
}

export function LoginFailed() {
  const { t } = useTranslation();
  return (
    <main className={styles.place}>
      <div className={styles.card} role="alert">
        <h1>{t("login.failed")}</h1>
        <p>{t("login.failedText")}</p>
        <Button variant="primary" onPress={() => void login()} autoFocus>
          {t("login.again")}
        </Button>
      </div>
    </main>
  );
}
