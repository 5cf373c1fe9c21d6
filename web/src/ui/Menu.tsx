import type { ReactElement, ReactNode } from "react";
import { Menu as AriaMenu, MenuItem, MenuTrigger, Popover, Separator } from "react-aria-components";
import styles from "@/ui/Menu.module.css";

export interface Choice {
  id: string;
  label: string;
  icon?: ReactNode;
  /** A keyboard shortcut, as shown. */
  shortcut?: string;
  danger?: boolean;
  disabled?: boolean;
  /** A line above it. */
  apart?: boolean;
  onAction: () => void;
}

/** A button (`trigger`) that opens a list of things to do. */
export function Menu({
  trigger,
  label,
  choices,
}: {
  trigger: ReactElement;
  label: string;
  choices: Choice[];
}) {
  return (
    <MenuTrigger>
      {trigger}
      <Popover className={styles.popover ?? ""}>
        <AriaMenu className={styles.menu ?? ""} aria-label={label}>
          {choices.flatMap((one) => [
            ...(one.apart ? [<Separator key={`${one.id}-line`} className={styles.line ?? ""} />] : []),
            <MenuItem
              key={one.id}
              id={one.id}
              textValue={one.label}
              isDisabled={one.disabled ?? false}
              onAction={one.onAction}
              data-danger={one.danger || undefined}
              className={styles.item ?? ""}
            >
              <span className={styles.icon}>{one.icon}</span>
              {one.label}
              {one.shortcut && <kbd className={styles.shortcut}>{one.shortcut}</kbd>}
            </MenuItem>,
          ])}
        </AriaMenu>
      </Popover>
    </MenuTrigger>
  );
}
