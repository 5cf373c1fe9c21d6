import { useQueryClient } from "@tanstack/react-query";
import { CloudOff } from "lucide-react";
import { useEffect, useState } from "react";
import { useTranslation } from "react-i18next";
import { ApiProblem } from "@/api/client";
import { reachable } from "@/api/session";
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
        if (type !== "updated" || query.state.fetchStatus !== "idle") return;
        const { error } = query.state;
        // what is slow may be a server behind the service: that is told where it is shown
        if (error instanceof ApiProblem && error.code === "Unreachable")
          void reachable().then((answers) => setLost(!answers));
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
