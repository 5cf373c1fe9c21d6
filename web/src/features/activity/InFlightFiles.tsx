import type { InFlight } from "@/api/live";
import { Bar } from "@/features/activity/Bar";
import styles from "@/features/activity/InFlightFiles.module.css";
import { useTexts } from "@/features/activity/texts";
import { bytes, rate } from "@/ui/format";

/** The files that are being moved or compared now; null: that is not told (yet). */
export function InFlightFiles({ inFlight }: { inFlight: InFlight | null }) {
  const { t } = useTexts();
  if (!inFlight) return null;
  return (
    <section className={styles.card} aria-labelledby="flight">
      <h2 id="flight">{t("flight.title")}</h2>
      {inFlight.files.length === 0 ? (
        <p className={styles.soft}>{t("flight.none")}</p>
      ) : (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
        <ul className={styles.list} tabIndex={0} aria-labelledby="flight">
          {inFlight.files.map((file) => {
            const part = file.size ? Math.min(file.bytes / file.size, 1) : null;
            const text = file.size
              ? t("progress.bytesOf", { done: bytes(file.bytes), total: bytes(file.size) })
              : bytes(file.bytes);
            return (
              <li key={file.source_path} className={styles.file}>
                <code className={styles.path} title={file.source_path} dir="auto">
                  {file.path || file.source_path}
                </code>
                <Bar
                  small
                  label={t("flight.label", { path: file.path || file.source_path })}
                  value={part}
                  text={text}
                  tone={file.state === "sending" ? "active" : "note"}
                />
                <span className={styles.soft}>
                  {t(`flight.${file.state}`)}
                  {file.attempt > 0 && `, ${t("flight.failed", { count: file.attempt })}`}
                </span>
                <span className={styles.soft}>
                  {text}
                  {file.bytes_per_second > 0 && ` · ${rate(file.bytes_per_second)}`}
                </span>
              </li>
            );
          })}
        </ul>
      )}
      {inFlight.more > 0 && <p className={styles.soft}>{t("flight.more", { count: inFlight.more })}</p>}
    </section>
  );
}
