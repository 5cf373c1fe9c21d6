import { useTranslation } from "react-i18next";

export function FilesPage() {
  const { t } = useTranslation("files");
  return <h1>{t("title")}</h1>;
}
