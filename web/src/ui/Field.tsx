import { ChevronDown } from "lucide-react";
import type { ReactNode } from "react";
import {
  Button as AriaButton,
  Checkbox as AriaCheckbox,
  Select as AriaSelect,
  TextField as AriaTextField,
  type CheckboxProps,
  FieldError,
  Input,
  Label,
  ListBox,
  ListBoxItem,
  Popover,
  type SelectProps,
  SelectValue,
  Text,
  TextArea,
  type TextFieldProps,
} from "react-aria-components";
import styles from "@/ui/Field.module.css";

interface Texts {
  label: string;
  hint?: ReactNode;
  /** What is wrong with what was entered. */
  error?: string | undefined;
}

/** One line of text, or with `lines` several. */
export function TextField({
  label,
  hint,
  error,
  lines,
  placeholder,
  mono,
  ...props
}: Omit<TextFieldProps, "className"> & Texts & { lines?: number; placeholder?: string; mono?: boolean }) {
  const input = { placeholder, className: `${styles.input} ${mono ? styles.mono : ""}` };
  return (
    <AriaTextField {...props} isInvalid={error !== undefined} className={styles.field ?? ""}>
      <Label className={styles.label ?? ""}>{label}</Label>
      {lines ? <TextArea {...input} rows={lines} /> : <Input {...input} />}
      <Said hint={hint} error={error} />
    </AriaTextField>
  );
}

export function Select({
  label,
  hint,
  error,
  choices,
  ...props
}: Omit<SelectProps<object>, "className" | "children"> &
  Texts & { choices: { id: string; label: string; hint?: string }[] }) {
  return (
    <AriaSelect {...props} isInvalid={error !== undefined} className={styles.field ?? ""}>
      <Label className={styles.label ?? ""}>{label}</Label>
      <AriaButton className={styles.select ?? ""}>
        <SelectValue>{({ selectedText }) => selectedText}</SelectValue>
        <ChevronDown size={16} aria-hidden="true" />
      </AriaButton>
      <Said hint={hint} error={error} />
      <Popover className={styles.popover ?? ""}>
        <ListBox className={styles.list ?? ""} items={choices}>
          {(one) => (
            <ListBoxItem id={one.id} textValue={one.label} className={styles.option ?? ""}>
              <Text slot="label">{one.label}</Text>
              {one.hint && (
                <Text slot="description" className={styles.hint ?? ""}>
                  {one.hint}
                </Text>
              )}
            </ListBoxItem>
          )}
        </ListBox>
      </Popover>
    </AriaSelect>
  );
}

/** A box to tick, with what it means under it. */
export function Checkbox({ label, hint, ...props }: Omit<CheckboxProps, "className" | "children"> & Texts) {
  const id = `${props.name ?? label}-hint`.replaceAll(/\W+/g, "-");
  return (
    <div>
      <AriaCheckbox
        {...props}
        className={styles.checkbox ?? ""}
        {...(hint ? { "aria-describedby": id } : {})}
      >
        <span className={styles.box} aria-hidden="true">
          <svg viewBox="0 0 16 16" aria-hidden="true">
            <path d="M3 8.5l3.2 3.2L13 5" />
          </svg>
        </span>
        {label}
      </AriaCheckbox>
      {hint && (
        <div id={id} className={styles.under}>
          {hint}
        </div>
      )}
    </div>
  );
}

function Said({ hint, error }: { hint: ReactNode; error: string | undefined }) {
  return (
    <>
      <FieldError className={styles.wrong ?? ""}>{error}</FieldError>
      {hint && (
        <Text slot="description" className={styles.hint ?? ""}>
          {hint}
        </Text>
      )}
    </>
  );
}
