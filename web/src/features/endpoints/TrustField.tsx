import { X } from "lucide-react";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { DropArea } from "@/features/endpoints/DropArea";
import styles from "@/features/endpoints/TrustField.module.css";
import { kindOf, type Trust, withFiles } from "@/features/endpoints/trust";
import { Button, IconButton } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { TextField } from "@/ui/Field";

const SHOWN = 8;

/** Which authorities are trusted: files, folders, or a certificate that is pasted. */
export function TrustField({
  value,
  onChange,
  kept,
}: {
  value: Trust;
  onChange: (trust: Trust) => void;
  /** There are some already, which the new ones replace. */
  kept: boolean;
}) {
  const { t } = useTranslation("endpoints");
  const [pasting, setPasting] = useState(false);
  return (
    <fieldset className={styles.field}>
      <legend className={styles.legend}>{t("form.trust")}</legend>
      <p className={styles.hint}>{t("form.trustHint")}</p>
      {kept && <p className={styles.hint}>{t("form.trustKept")}</p>}
      {value.files.length > 0 && (
        <ul className={styles.files}>
          {value.files.slice(0, SHOWN).map((file) => (
            <li key={file.name} className={styles.file}>
              <code>{file.name}</code>
              <span className={styles.kind}>{t(`form.kind.${kindOf(file) ?? "authority"}`)}</span>
              <IconButton
                label={t("form.trustRemove", { name: file.name })}
                onPress={() => onChange({ ...value, files: value.files.filter((one) => one !== file) })}
                className={styles.remove ?? ""}
              >
                <X size={16} aria-hidden="true" />
              </IconButton>
            </li>
          ))}
          {value.files.length > SHOWN && (
            <li className={styles.file}>{t("form.trustMore", { count: value.files.length - SHOWN })}</li>
          )}
        </ul>
      )}
      <div role="status" className={styles.hint}>
        {value.ignored.length > 0 && t("form.trustIgnored", { count: value.ignored.length })}
      </div>
      <DropArea
        label={t("form.trustDrop")}
        buttons={[{ label: t("form.trustFiles") }, { label: t("form.trustFolder"), folder: true }]}
        more={
          <Button size="small" onPress={() => setPasting(true)}>
            {t("form.trustPaste")}
          </Button>
        }
        onFiles={(files) => onChange(withFiles(value, files))}
      />
      {value.files.length > 1 && (
        <div>
          <Button size="small" variant="quiet" onPress={() => onChange({ files: [], ignored: [] })}>
            {t("form.trustClear")}
          </Button>
        </div>
      )}
      <Paste
        isOpen={pasting}
        onClose={() => setPasting(false)}
        onText={(text) => {
          const name = t("form.trustPasted", { number: value.files.length + 1 });
          onChange(withFiles(value, [{ name, text }]));
        }}
      />
    </fieldset>
  );
}

function Paste({
  isOpen,
  onClose,
  onText,
}: {
  isOpen: boolean;
  onClose: () => void;
  onText: (text: string) => void;
}) {
  const { t } = useTranslation("endpoints");
  const [text, setText] = useState("");
  const [wrong, setWrong] = useState(false);
  const add = () => {
    if (kindOf({ name: "", text }) === null) {
      setWrong(true);
      return;
    }
    onText(text);
    setText("");
    onClose();
  };
  return (
    <Dialog
      title={t("form.pasteTitle")}
      isOpen={isOpen}
      onClose={onClose}
      actions={
        <Button variant="primary" onPress={add}>
          {t("form.add")}
        </Button>
      }
    >
      <TextField
        label={t("form.trustPaste")}
        hint={t("form.pasteHint")}
        error={wrong ? t("form.pasteWrong") : undefined}
        lines={9}
        mono
        autoFocus
        value={text}
        onChange={(next) => {
          setText(next);
          setWrong(false);
        }}
      />
    </Dialog>
  );
}
