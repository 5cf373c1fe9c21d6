import { useTranslation } from "react-i18next";

export function ActivityPage() {
  const { t } = useTranslation("activity");
  return <h1>{t("title")}</h1>;
}
