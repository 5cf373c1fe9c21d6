import { useInfiniteQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { ArrowRight, FolderOpen } from "lucide-react";
import type { LiveTask } from "@/api/taskMerge";
import { itemsQuery } from "@/api/tasks";
import styles from "@/features/activity/EndsOfTask.module.css";
import { directoryOf } from "@/features/activity/state";
import { useTexts } from "@/features/activity/texts";

/** Where from and where to, as ways into the file manager. */
export function EndsOfTask({ task }: { task: LiveTask }) {
  const { t } = useTexts();
  const item = task.first_item;
  const items = useInfiniteQuery(itemsQuery(task.task_id)).data?.pages[0]?.total ?? 1;
  // what an item is may not have been said; a walk of one file finds no directory
  const tree = item?.recursive ?? task.directories > 0;
  return (
    <div className={styles.ends}>
      <End
        role={task.type === "DELETE" ? t("task.on") : t("task.from")}
        id={task.source_endpoint_id}
        name={task.source_endpoint_display_name}
        path={item?.source_path ?? null}
        more={items - 1}
        // what was deleted is not there any more: its place is
        tree={tree && task.type !== "DELETE"}
      />
      {task.type === "TRANSFER" && (
        <>
          <ArrowRight size={20} aria-hidden="true" className={styles.arrow} />
          <End
            role={t("task.to")}
            id={task.destination_endpoint_id}
            name={task.destination_endpoint_display_name}
            path={item?.destination_path ?? null}
            more={items - 1}
            tree={tree}
          />
        </>
      )}
    </div>
  );
}

function End({
  role,
  id,
  name,
  path,
  more,
  tree,
}: {
  role: string;
  id: string | null;
  name: string | null;
  path: string | null;
  /** So many other items the task has. */
  more: number;
  tree: boolean;
}) {
  const { t } = useTexts();
  const endpoint = name ?? t("what.gone");
  const inside = (
    <>
      <span className={styles.role}>{role}</span>
      <span className={styles.name}>{endpoint}</span>
      <span className={styles.path}>
        <code dir="auto">{path ?? ""}</code>
        {more > 0 && ` ${t("task.itemsMore", { count: more })}`}
      </span>
    </>
  );
  if (!id || !path) return <div className={styles.end}>{inside}</div>;
  return (
    <Link
      to="/files"
      search={filesSearch(id, directoryOf(path, tree))}
      className={styles.end}
      aria-label={t("task.openHere", { path, endpoint })}
    >
      {inside}
      <FolderOpen size={18} aria-hidden="true" className={styles.open} />
    </Link>
  );
}

function filesSearch(endpointId: string, path: string) {
  return { origin_id: endpointId, origin_path: path };
}
