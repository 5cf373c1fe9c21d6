import type { ReactNode } from "react";
import {
  Button as AriaButton,
  ProgressBar as AriaProgressBar,
  type ButtonProps,
  Tooltip,
  TooltipTrigger,
} from "react-aria-components";
import { useTranslation } from "react-i18next";
import styles from "@/ui/Button.module.css";
import { classes } from "@/ui/classes";

interface Looks {
  variant?: "normal" | "primary" | "danger" | "quiet";
  size?: "normal" | "small";
  className?: string;
}

/** For a link that looks like a button. */
export function buttonClasses(
  variant: NonNullable<Looks["variant"]> = "normal",
  size: NonNullable<Looks["size"]> = "normal",
): string {
  return classes(styles.button, styles[variant], styles[size]);
}

/**
 * While it `isPending` it turns, in its own size, says so, and cannot be pressed. (Not by the library's own way: that
 * announces the button's name by a reference, which leads nowhere when the page has changed by then.)
 */
export function Button({
  variant = "normal",
  size = "normal",
  className,
  children,
  isPending = false,
  onPress,
  type,
  ...props
}: Omit<ButtonProps, "className" | "children"> & Looks & { children?: ReactNode }) {
  return (
    <AriaButton
      {...props}
      {...(isPending ? { type: "button" } : { type: type ?? "button", ...(onPress ? { onPress } : {}) })}
      className={classes(
        styles.button,
        styles[variant],
        styles[size],
        isPending && styles.pending,
        className,
      )}
    >
      {children}
      {isPending && <Pending />}
    </AriaButton>
  );
}

function Pending() {
  const { t } = useTranslation();
  return <AriaProgressBar isIndeterminate aria-label={t("loading")} className={styles.turning ?? ""} />;
}

/** A button that is a picture: its name is read out, and shown when the pointer or the focus is on it. */
export function IconButton({
  label,
  children,
  variant = "quiet",
  className,
  ...props
}: Omit<ButtonProps, "className" | "children"> & Looks & { label: string; children: ReactNode }) {
  return (
    <TooltipTrigger delay={500}>
      <AriaButton
        {...props}
        aria-label={label}
        className={classes(styles.button, styles.icon, styles[variant], className)}
      >
        {children}
      </AriaButton>
      <Tooltip className={styles.tooltip ?? ""} offset={6}>
        {label}
      </Tooltip>
    </TooltipTrigger>
  );
}
