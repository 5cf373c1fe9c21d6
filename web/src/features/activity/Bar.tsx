import styles from "@/features/activity/Bar.module.css";
import type { Tone } from "@/features/activity/state";
import { classes } from "@/ui/classes";

/**
 * How much is done, 0 to 1; null while nobody knows how much there is. There may be fifty on a page, each
 * changing twice a second: so it moves without layout, and nothing in it is animated.
 */
export function Bar({
  label,
  value,
  text,
  tone,
  small = false,
}: {
  label: string;
  value: number | null;
  /** What is read out instead of a percentage. */
  text: string;
  tone: Tone | "active";
  small?: boolean;
}) {
  return (
    <div
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      {...(value === null ? {} : { "aria-valuenow": Math.round(value * 100) })}
      aria-valuetext={text}
      className={classes(styles.bar, styles[tone], small && styles.small, value === null && styles.unknown)}
    >
      {value !== null && <div className={styles.fill} style={{ transform: `scaleX(${value})` }} />}
    </div>
  );
}
