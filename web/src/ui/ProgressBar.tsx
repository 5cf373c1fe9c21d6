import { ProgressBar as AriaProgressBar } from "react-aria-components";
import { classes } from "@/ui/classes";
import styles from "@/ui/ProgressBar.module.css";

/** How much is done, 0 to 1; null while nobody knows how much there is. */
export function ProgressBar({
  label,
  value,
  kind = "active",
}: {
  label: string;
  value: number | null;
  kind?: "active" | "good" | "danger" | "waiting";
}) {
  return (
    <AriaProgressBar
      aria-label={label}
      {...(value === null ? { isIndeterminate: true } : { value: value * 100 })}
      className={classes(styles.bar, styles[kind])}
    >
      {({ percentage, isIndeterminate }) => (
        <div
          className={classes(styles.fill, isIndeterminate && styles.unknown)}
          style={{ width: `${percentage ?? 30}%` }}
        />
      )}
    </AriaProgressBar>
  );
}
