import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { ChevronLeft } from "lucide-react";
import { Tab, TabList, TabPanel, Tabs } from "react-aria-components";
import { ApiProblem } from "@/api/client";
import { useLiveTask } from "@/api/live";
import { isFinished, type LiveTask } from "@/api/taskMerge";
import { POLL_MS, taskQuery, useTaskActions } from "@/api/tasks";
import { EndsOfTask } from "@/features/activity/EndsOfTask";
import { Events } from "@/features/activity/Events";
import { Fidelity } from "@/features/activity/Fidelity";
import { Files } from "@/features/activity/Files";
import { InFlightFiles } from "@/features/activity/InFlightFiles";
import { LiveMark } from "@/features/activity/LiveMark";
import { Overview } from "@/features/activity/Overview";
import { StateBadge } from "@/features/activity/StateBadge";
import { StateNote } from "@/features/activity/StateNote";
import { TASK_TABS, type TaskTab, taskSearch } from "@/features/activity/search";
import { stateOf } from "@/features/activity/state";
import { TaskActions } from "@/features/activity/TaskActions";
import styles from "@/features/activity/TaskPage.module.css";
import { TaskProgress } from "@/features/activity/TaskProgress";
import { Throughput } from "@/features/activity/Throughput";
import { useTexts } from "@/features/activity/texts";
import { EmptyState } from "@/ui/EmptyState";
import { Problem } from "@/ui/Problem";
import { usePageTitle } from "@/ui/pageTitle";
import { Skeleton } from "@/ui/Skeleton";
import hidden from "@/ui/unseen.module.css";

/** One task: how it does, what can be done about it, and what came of it. Live until its end. */
export function TaskPage() {
  const { taskId } = useParams({ from: "/inside/activity/$taskId" });
  // another task is another page: nothing of the one before is kept
  return <TaskView key={taskId} id={taskId} />;
}

function TaskView({ id }: { id: string }) {
  const { t, title } = useTexts();
  const { tab = "overview", errors = false, files } = useSearch({ from: "/inside/activity/$taskId" });
  const navigate = useNavigate();
  const queries = useQueryClient();
  const known = queries.getQueryData(taskQuery(queries, id).queryKey);
  const actions = useTaskActions(id);
  const { connection, inFlight } = useLiveTask(id, known !== undefined && !isFinished(known));
  const found = useQuery({
    ...taskQuery(queries, id),
    refetchInterval: (query) => {
      const running = query.state.data && !isFinished(query.state.data);
      return running && (connection === "absent" || connection === "lost") ? POLL_MS : false;
    },
  });
  const task = found.data;
  usePageTitle(task && title(task));
  if (!task) {
    if (!found.isError) return <Waiting />;
    const gone = found.error instanceof ApiProblem && found.error.status === 404;
    return (
      <div className={styles.page}>
        <Back />
        <h1 className={hidden.unseen}>{t("task.title")}</h1>
        {gone ? (
          <EmptyState title={t("task.goneTitle")}>{t("task.goneText")}</EmptyState>
        ) : (
          <Problem title={t("task.failedTitle")} error={found.error} onRetry={() => void found.refetch()} />
        )}
      </div>
    );
  }
  const finished = isFinished(task);
  const cancelling =
    actions.cancel.isPending || (actions.cancel.data?.code === "CancelAccepted" && !finished);
  const state = stateOf(task, cancelling);
  return (
    <div className={styles.page}>
      <div className={styles.above}>
        <Back />
        {!finished && <LiveMark connection={connection} />}
      </div>
      <div className={styles.head}>
        <div className={styles.titles}>
          <h1 dir="auto">{title(task)}</h1>
          <StateBadge kind={state.kind} tone={state.tone} />
        </div>
        <TaskActions task={task} actions={actions} cancelling={cancelling} />
      </div>
      <p role="status" className={hidden.unseen}>
        {t(`state.${state.kind}`)}
      </p>
      <StateNote task={task} state={state} />
      <EndsOfTask task={task} />
      <TaskProgress task={task} state={state} />
      {hasPlot(task, state.kind === "running") && (
        <div className={styles.now}>
          <Throughput task={task} />
          {!finished && <InFlightFiles inFlight={inFlight} />}
        </div>
      )}
      <Tabs
        selectedKey={tab}
        onSelectionChange={(key) =>
          void navigate({
            to: "/activity/$taskId",
            params: { taskId: id },
            search: taskSearch({ tab: key }),
            replace: true,
            resetScroll: false,
          })
        }
      >
        <TabList className={styles.tabs ?? ""} aria-label={t("task.tabs")}>
          {TASK_TABS.map((one) => (
            <Tab key={one} id={one} className={styles.tab ?? ""}>
              {t(`task.${one}`)}
              {one === "events" && task.faults > 0 && <span className={styles.number}>{task.faults}</span>}
            </Tab>
          ))}
        </TabList>
        {TASK_TABS.map((one) => (
          <TabPanel key={one} id={one} className={styles.panel ?? ""}>
            {panel(one)}
          </TabPanel>
        ))}
      </Tabs>
    </div>
  );

  function panel(which: TaskTab) {
    if (!task) return null;
    switch (which) {
      case "overview":
        return <Overview task={task} />;
      case "events":
        return <Events task={task} errorsOnly={errors} />;
      case "files":
        return <Files task={task} skipped={files === "skipped"} />;
      case "fidelity":
        return <Fidelity task={task} />;
    }
  }
}

/** Whether there is, or will be, something to draw: decided before it is read, so that nothing jumps. */
function hasPlot(task: LiveTask, running: boolean): boolean {
  if (task.type === "DELETE") return false;
  if (!isFinished(task)) return running || task.bytes_transferred > 0;
  const seconds = (Date.parse(task.completion_time ?? "") - Date.parse(task.request_time)) / 1000;
  return task.bytes_transferred > 0 && seconds >= SHORTEST_PLOT_S;
}

/** A shorter task is over before there are instants for a line. */
const SHORTEST_PLOT_S = 3;

function Back() {
  const { t } = useTexts();
  return (
    <Link to="/activity" className={styles.back}>
      <ChevronLeft size={16} aria-hidden="true" />
      {t("task.back")}
    </Link>
  );
}

function Waiting() {
  const { t } = useTexts();
  return (
    <div className={styles.page} aria-busy="true">
      <Back />
      <h1 className={hidden.unseen}>{t("task.title")}</h1>
      <div className={styles.head}>
        <Skeleton width="22rem" height="1.75rem" />
      </div>
      <Skeleton height="3.5rem" />
      <div className={styles.gap} />
      <Skeleton height="4.5rem" />
      <div className={styles.gap} />
      <Skeleton height="6rem" />
      <div className={styles.gap} />
      <Skeleton height="15rem" />
    </div>
  );
}
