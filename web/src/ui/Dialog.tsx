import { X } from "lucide-react";
import type { ReactNode } from "react";
import { Dialog as AriaDialog, Heading, Modal, ModalOverlay } from "react-aria-components";
import { useTranslation } from "react-i18next";
import { Button, IconButton } from "@/ui/Button";
import { classes } from "@/ui/classes";
import styles from "@/ui/Dialog.module.css";

interface Props {
  title: string;
  isOpen: boolean;
  onClose: () => void;
  children: ReactNode;
  /** Buttons at the foot. */
  actions?: ReactNode;
  size?: "normal" | "wide";
  role?: "dialog" | "alertdialog";
}

/** A modal dialog; Escape and a click beside it close it. */
export function Dialog({
  title,
  isOpen,
  onClose,
  children,
  actions,
  size = "normal",
  role = "dialog",
}: Props) {
  const { t } = useTranslation();
  return (
    <ModalOverlay
      className={styles.overlay ?? ""}
      isOpen={isOpen}
      onOpenChange={(open) => !open && onClose()}
      isDismissable
    >
      <Modal className={classes(styles.modal, styles[size])}>
        <AriaDialog className={styles.dialog ?? ""} role={role}>
          <div className={styles.head}>
            <Heading slot="title" level={2}>
              {title}
            </Heading>
            <IconButton label={t("close")} onPress={onClose}>
              <X size={20} aria-hidden="true" />
            </IconButton>
          </div>
          <div className={styles.body}>{children}</div>
          {actions && <div className={styles.actions}>{actions}</div>}
        </AriaDialog>
      </Modal>
    </ModalOverlay>
  );
}

/** A question before something that cannot be undone: `children` say what goes. */
export function ConfirmDialog({
  confirm,
  keep,
  onConfirm,
  isBusy,
  danger = true,
  ...props
}: Omit<Props, "actions" | "role"> & {
  confirm: string;
  /** The way out, where "Cancel" could be taken for what is asked about. */
  keep?: string;
  onConfirm: () => void;
  isBusy?: boolean;
  danger?: boolean;
}) {
  const { t } = useTranslation();
  return (
    <Dialog
      {...props}
      role="alertdialog"
      actions={
        <>
          <Button onPress={props.onClose} autoFocus>
            {keep ?? t("cancel")}
          </Button>
          <Button variant={danger ? "danger" : "primary"} onPress={onConfirm} isPending={isBusy ?? false}>
            {confirm}
          </Button>
        </>
      }
    />
  );
}
