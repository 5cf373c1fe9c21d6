import styles from "@/ui/Skeleton.module.css";

/** Keeps the place of what is still loading, in its size: nothing jumps when it comes. */
export function Skeleton({ width = "100%", height = "1em" }: { width?: string; height?: string }) {
  return <span className={styles.skeleton} style={{ width, height }} aria-hidden="true" />;
}
