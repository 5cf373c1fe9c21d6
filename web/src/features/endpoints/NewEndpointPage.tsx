import { useTranslation } from "react-i18next";

export function NewEndpointPage() {
  const { t } = useTranslation("endpoints");
  return <h1>{t("title")}</h1>;
}
