import { useQueryClient } from "@tanstack/react-query";
import { CloudOff } from "lucide-react";
import { useEffect, useState } from "react";
import { useTranslation } from "react-i18next";
import { ApiProblem } from "@/api/client";
import { reachable, Unreachable } from "@/api/session";
import styles from "@/app/Connection.module.css";
import { Button } from "@/ui/Button";

/** Asked so often whether the service answers again. */
const EVERY_MS = 5_000;

/** A bar that says so while the service does not answer, and goes when it does. */
export function Connection() {
  const { t } = useTranslation();
  const queries = useQueryClient();
  const [lost, setLost] = useState(false);

  useEffect(
    () =>
      queries.getQueryCache().subscribe(({ type, query }) => {
        if (type !== "updated") return;
        const { error } = query.state;
        if (error instanceof Unreachable || (error instanceof ApiProblem && error.status === 0))
          setLost(true);
      }),
    [queries],
  );

  useEffect(() => {
    const off = () => setLost(true);
    addEventListener("offline", off);
    return () => removeEventListener("offline", off);
  }, []);

  const look = async () => {
    if (!(await reachable())) return;
    setLost(false);
    await queries.invalidateQueries();
  };

  // biome-ignore lint/correctness/useExhaustiveDependencies: `look` does the same each time
  useEffect(() => {
    if (!lost) return;
    const again = setInterval(() => void look(), EVERY_MS);
    const on = () => void look();
    addEventListener("online", on);
    return () => {
      clearInterval(again);
      removeEventListener("online", on);
    };
  }, [lost]);

  return (
    <div role="status">
      {lost && (
        <div className={styles.lost}>
          <CloudOff size={18} aria-hidden="true" />
          <span>{t("connection.lost")}</span>
          <Button size="small" onPress={() => void look()}>
            {t("connection.now")}
          </Button>
        </div>
      )}
    </div>
  );
}
