import { useTranslation } from "react-i18next";

export function EndpointPage() {
  const { t } = useTranslation("endpoints");
  return <h1>{t("title")}</h1>;
}
