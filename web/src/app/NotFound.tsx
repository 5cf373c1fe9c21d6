import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { EmptyState } from "@/ui/EmptyState";

export function NotFound() {
  const { t } = useTranslation();
  return (
    <main>
      <EmptyState title={t("error.notFound")} action={<Link to="/files">{t("error.home")}</Link>}>
        {t("error.notFoundText")}
      </EmptyState>
    </main>
  );
}
