import { Component, type ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { Button } from "@/ui/Button";
import { EmptyState } from "@/ui/EmptyState";

/** What is shown instead of a white page when a component breaks. */
export class Boundary extends Component<{ children: ReactNode }, { broken: boolean }> {
  override state = { broken: false };

  static getDerivedStateFromError() {
    return { broken: true };
  }

  override render() {
    return this.state.broken ? <Broken /> : this.props.children;
  }
}

export function Broken() {
  const { t } = useTranslation();
  return (
    <EmptyState
      title={t("error.crashed")}
      action={<Button onPress={() => location.reload()}>{t("error.retry")}</Button>}
    >
      {t("error.crashedText")}
    </EmptyState>
  );
}
