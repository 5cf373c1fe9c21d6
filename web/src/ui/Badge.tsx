import type { ReactNode } from "react";
import styles from "@/ui/Badge.module.css";
import { classes } from "@/ui/classes";

/** A word of state; never by colour alone. */
export function Badge({
  kind = "note",
  icon,
  children,
}: {
  kind?: "note" | "good" | "danger" | "warn";
  icon?: ReactNode;
  children: ReactNode;
}) {
  return (
    <span className={classes(styles.badge, styles[kind])}>
      {icon}
      {children}
    </span>
  );
}
