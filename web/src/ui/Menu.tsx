import { type ReactElement, type ReactNode, useRef } from "react";
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
        <Choices label={label} choices={choices} />
      </Popover>
    </MenuTrigger>
  );
}

/** The same at a point of the window: what a right click opens. */
export function MenuAt({
  at,
  onClose,
  label,
  choices,
}: {
  at: { x: number; y: number } | null;
  onClose: () => void;
  label: string;
  choices: Choice[];
}) {
  const point = useRef<HTMLSpanElement>(null);
  return (
    <>
      <span ref={point} className={styles.point} style={{ left: at?.x ?? 0, top: at?.y ?? 0 }} />
      <Popover
        triggerRef={point}
        isOpen={at !== null}
        onOpenChange={(open) => !open && onClose()}
        placement="bottom start"
        aria-label={label}
        className={styles.popover ?? ""}
      >
        <Choices label={label} choices={choices} onClose={onClose} />
      </Popover>
    </>
  );
}

function Choices({ label, choices, onClose }: { label: string; choices: Choice[]; onClose?: () => void }) {
  return (
    <AriaMenu className={styles.menu ?? ""} aria-label={label} autoFocus="first" onClose={() => onClose?.()}>
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
  );
}
