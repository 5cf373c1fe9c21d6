import { Copy } from "lucide-react";
import { useTranslation } from "react-i18next";
import styles from "@/features/endpoints/SetupCommands.module.css";
import { IconButton } from "@/ui/Button";
import { say } from "@/ui/Toast";

/** What is typed at a computer so that it joins. The key is shown this once: the service keeps no copy. */
export function SetupCommands({ setupKey, personal }: { setupKey: string; personal: boolean }) {
  const { t } = useTranslation("endpoints");
  const steps = [
    { text: t("connect.stepSetup"), command: `towpath connect setup ${setupKey}` },
    { text: t("connect.stepStart"), command: "towpath connect start" },
  ];
  return (
    <div className={styles.all}>
      <p className={styles.soft}>{t("connect.package")}</p>
      <ol className={styles.steps}>
        {steps.map(({ text, command }) => (
          <li key={command}>
            <p>{text}</p>
            <div className={styles.command}>
              <code>{command}</code>
              <IconButton
                label={t("connect.copy")}
                onPress={() =>
                  void navigator.clipboard.writeText(command).then(() => say({ title: t("connect.copied") }))
                }
              >
                <Copy size={16} aria-hidden="true" />
              </IconButton>
            </div>
          </li>
        ))}
      </ol>
      <p className={styles.soft}>{t(personal ? "connect.keyOnce" : "connect.keyServer")}</p>
    </div>
  );
}
