import { useInfiniteQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { CircleCheck, CircleDot, CirclePause, TriangleAlert } from "lucide-react";
import { memo } from "react";
import type { TaskEvent } from "@/api/progress";
import { isFinished, type LiveTask } from "@/api/taskMerge";
import { eventsQuery, POLL_MS } from "@/api/tasks";
import styles from "@/features/activity/Events.module.css";
import { taskSearch } from "@/features/activity/search";
import { parseDetails, sentence } from "@/features/activity/state";
import { useTexts } from "@/features/activity/texts";
import { eventTone, numbersOf, tellingOf } from "@/features/activity/words";
import { Button } from "@/ui/Button";
import { EmptyState } from "@/ui/EmptyState";
import { Checkbox } from "@/ui/Field";
import { bytes, duration } from "@/ui/format";
import { Problem } from "@/ui/Problem";
import { Skeleton } from "@/ui/Skeleton";
import { Time } from "@/ui/Time";
import hidden from "@/ui/unseen.module.css";

const ICONS = { error: TriangleAlert, good: CircleCheck, waiting: CirclePause, note: CircleDot };
/** The stream brings events at once; this is for services and moments without it. */
const READ_AGAIN_MS = 5 * POLL_MS;

/** What happened, newest first. */
export function Events({ task, errorsOnly }: { task: LiveTask; errorsOnly: boolean }) {
  const { t } = useTexts();
  const navigate = useNavigate();
  const found = useInfiniteQuery({
    ...eventsQuery(task.task_id, errorsOnly),
    refetchInterval: isFinished(task) ? false : READ_AGAIN_MS,
  });
  const events = found.data?.pages.flatMap((page) => page.DATA) ?? [];
  return (
    <div className={styles.events}>
      <Checkbox
        label={t("events.errorsOnly")}
        isSelected={errorsOnly}
        onChange={(chosen) =>
          void navigate({
            to: "/activity/$taskId",
            params: { taskId: task.task_id },
            search: taskSearch({ tab: "events", errors: chosen || undefined }),
            replace: true,
            resetScroll: false,
          })
        }
      />
      {found.isError && !found.data ? (
        <Problem title={t("events.failedTitle")} error={found.error} onRetry={() => void found.refetch()} />
      ) : found.isPending ? (
        <Skeleton height="12rem" />
      ) : events.length === 0 ? (
        <EmptyState title={t(errorsOnly ? "events.noErrors" : "events.none")}>
          {t(errorsOnly ? "events.noErrorsText" : "events.noneText")}
        </EmptyState>
      ) : (
        <>
          <ol className={styles.list} aria-label={t("events.label")}>
            {events.map((event) => (
              <EventRow key={event.id} event={event} />
            ))}
          </ol>
          {found.hasNextPage && (
            <Button onPress={() => void found.fetchNextPage()} isPending={found.isFetchingNextPage}>
              {t("events.more")}
            </Button>
          )}
        </>
      )}
    </div>
  );
}

const EventRow = memo(function EventRow({ event }: { event: TaskEvent }) {
  const { t } = useTexts();
  const details = parseDetails(event.details);
  const { told, table } = tellingOf(details);
  const numbers = numbersOf(details);
  const tone = eventTone(event);
  const Icon = ICONS[tone];
  const values = {
    bytes: bytes(numbers.bytes_transferred ?? 0),
    time: duration(Math.max(numbers.duration ?? 0, 1)),
  };
  return (
    <li className={styles.event} data-tone={tone}>
      <Icon size={18} aria-hidden="true" className={styles.icon} />
      <div className={styles.said}>
        <div className={styles.first}>
          <strong>
            {event.is_error && <span className={hidden.unseen}>{t("events.error")}: </span>}
            {t(`event.${event.code}`, values)}
          </strong>
          <span className={styles.soft}>
            <Time value={event.time} />
          </span>
        </div>
        {(told.error ?? told.reason ?? told.text) && (
          <p>{sentence(told.error ?? told.reason ?? told.text ?? "")}</p>
        )}
        {told.path && (
          <p>
            <code dir="auto">{told.path}</code>
          </p>
        )}
        {told.advice && (
          <p className={styles.soft}>
            {t("events.advice")}: {told.advice}
          </p>
        )}
        {told.next && (
          <p className={styles.soft}>
            {t("events.next")}: {told.next}
          </p>
        )}
        {numbers.more_like_this !== undefined && numbers.more_like_this > 0 && (
          <p className={styles.soft}>{t("events.moreLikeThis", { count: numbers.more_like_this })}</p>
        )}
        {table.length > 0 && (
          <details className={styles.fold}>
            <summary>{t("events.details")}</summary>
            <dl>
              {[{ name: "code", value: event.code }, { name: "time", value: event.time }, ...table].map(
                ({ name, value }) => (
                  <div key={name}>
                    <dt>{name}</dt>
                    <dd>{value}</dd>
                  </div>
                ),
              )}
            </dl>
          </details>
        )}
      </div>
    </li>
  );
});
