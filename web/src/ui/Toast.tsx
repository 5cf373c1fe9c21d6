import { X } from "lucide-react";
import type { ReactNode } from "react";
import {
  UNSTABLE_Toast as AriaToast,
  Text,
  UNSTABLE_ToastContent as ToastContent,
  UNSTABLE_ToastQueue as ToastQueue,
  UNSTABLE_ToastRegion as ToastRegion,
} from "react-aria-components";
import { useTranslation } from "react-i18next";
import { IconButton } from "@/ui/Button";
import { classes } from "@/ui/classes";
import styles from "@/ui/Toast.module.css";

interface Said {
  title: string;
  text?: ReactNode;
  kind?: "good" | "error";
}

/** Long enough to be read and acted on (WCAG 2.2, 2.2.1 asks for no more of what can be found elsewhere, too). */
const SHOWN_MS = 8_000;

const queue = new ToastQueue<Said>({ maxVisibleToasts: 3 });

/** Tell something that has happened. What failed stays until it is dismissed. */
export function say(said: Said): void {
  queue.add(said, said.kind === "error" ? {} : { timeout: SHOWN_MS });
}

export function Toasts() {
  const { t } = useTranslation();
  return (
    <ToastRegion queue={queue} className={styles.region ?? ""}>
      {({ toast }) => (
        <AriaToast toast={toast} className={classes(styles.toast, styles[toast.content.kind ?? "good"])}>
          <ToastContent className={styles.content ?? ""}>
            <Text slot="title" className={styles.title ?? ""}>
              {toast.content.title}
            </Text>
            {toast.content.text && <Text slot="description">{toast.content.text}</Text>}
          </ToastContent>
          <IconButton slot="close" label={t("dismiss")}>
            <X size={18} aria-hidden="true" />
          </IconButton>
        </AriaToast>
      )}
    </ToastRegion>
  );
}
