/** Tasks as they are now: the streams of the service, in TanStack Query's cache. */

import { type InfiniteData, type QueryClient, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { type FileInFlight, follow, type Listener, type Progress, type TaskEvent } from "@/api/progress";
import type { components } from "@/api/schema";
import { type LiveTask, mergePages, withEvent, withProgress } from "@/api/taskMerge";
import { newestEventQuery, taskKeys } from "@/api/tasks";

export type Connection = "connecting" | "live" | "lost" | "absent";

/** As often as the service tells of one task: what comes from fifty of them is drawn together. */
const DRAW_EVERY_MS = 500;
/** After the end of a task, or a new one, lists are read anew: once for all that come together. */
const READ_AGAIN_MS = 1_000;

/** Collects, and hands over with a frame of the browser, not more often than each {@link DRAW_EVERY_MS}. */
class Batch<T> {
  private waiting = new Map<string, T>();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private frame = 0;
  private last = 0;

  constructor(private readonly draw: (changes: ReadonlyMap<string, T>) => void) {}

  add(key: string, value: T): void {
    this.waiting.set(key, value);
    if (this.timer !== undefined || this.frame) return;
    const wait = Math.max(0, this.last + DRAW_EVERY_MS - performance.now());
    this.timer = setTimeout(() => {
      this.timer = undefined;
      this.frame = requestAnimationFrame(() => {
        this.frame = 0;
        this.last = performance.now();
        const changes = this.waiting;
        this.waiting = new Map();
        this.draw(changes);
      });
    }, wait);
  }

  stop(): void {
    clearTimeout(this.timer);
    cancelAnimationFrame(this.frame);
  }
}

/** Keeps the lists of tasks in the cache up to date, while the component is shown. */
export function useLiveTasks(): Connection {
  const queries = useQueryClient();
  const [connection, setConnection] = useState<Connection>("connecting");
  useEffect(() => {
    const ended = new AbortController();
    let reading: ReturnType<typeof setTimeout> | undefined;
    const readAgain = () => {
      reading ??= setTimeout(() => {
        reading = undefined;
        void queries.invalidateQueries({ queryKey: taskKeys.lists });
      }, READ_AGAIN_MS);
    };
    const batch = new Batch<Progress>((changes) => {
      if (mergeIntoLists(queries, changes)) readAgain();
    });
    void follow(
      "/v0.10/task_progress",
      {
        onTask: (progress) => batch.add(progress.task_id, progress),
        onEnd: readAgain,
        onConnection: (now) => {
          setConnection(now);
          // of what ended before, the stream knows nothing
          if (now === "live") readAgain();
        },
      },
      ended.signal,
      { ends: false },
    );
    return () => {
      ended.abort();
      batch.stop();
      clearTimeout(reading);
    };
  }, [queries]);
  return connection;
}

/** Whether some of them are in no list. */
function mergeIntoLists(queries: QueryClient, changes: ReadonlyMap<string, Progress>): boolean {
  const strangers = new Set(changes.keys());
  const lists = queries.getQueriesData<InfiniteData<{ DATA: LiveTask[] }>>({ queryKey: taskKeys.lists });
  for (const [key, found] of lists) {
    if (!found) continue;
    for (const page of found.pages) for (const task of page.DATA) strangers.delete(task.task_id);
    const pages = mergePages(found.pages, changes);
    if (pages !== found.pages) queries.setQueryData(key, { ...found, pages });
  }
  return strangers.size > 0 && lists.some(([, found]) => found !== undefined);
}

export interface InFlight {
  files: FileInFlight[];
  more: number;
}

type Events = InfiniteData<components["schemas"]["EventList"]>;

/** Follows one task, unless it has ended, and keeps the cache up to date. */
export function useLiveTask(
  id: string,
  running: boolean,
): { connection: Connection; inFlight: InFlight | null } {
  const queries = useQueryClient();
  const [connection, setConnection] = useState<Connection>("connecting");
  const [inFlight, setInFlight] = useState<InFlight | null>(null);
  useEffect(() => {
    if (!running) {
      setInFlight(null);
      return;
    }
    const ended = new AbortController();
    const batch = new Batch<Progress>((changes) => {
      const progress = changes.get(id);
      if (!progress) return;
      queries.setQueryData<LiveTask>(taskKeys.one(id), (task) => task && withProgress(task, progress));
    });
    const listener: Listener = {
      onTask: (progress) => batch.add(id, progress),
      onFiles: (files, more) => setInFlight({ files, more }),
      onEvent: (event) => addEvent(queries, id, event),
      onEnd: () => void queries.invalidateQueries({ queryKey: taskKeys.all }),
      onConnection: setConnection,
    };
    // a stream begins with the task's first event, of which there may be thousands: what happened before is listed
    void queries
      .fetchQuery(newestEventQuery(id))
      .then(
        (newest) => (newest ? `${newest.id}` : ""),
        () => "",
      )
      .then((after) => follow(`/v0.10/task/${id}/progress`, listener, ended.signal, { ends: true, after }));
    return () => {
      ended.abort();
      batch.stop();
    };
  }, [queries, id, running]);
  return { connection, inFlight };
}

function addEvent(queries: QueryClient, id: string, event: TaskEvent): void {
  for (const errorsOnly of [false, true]) {
    if (errorsOnly && !event.is_error) continue;
    queries.setQueryData<Events>(
      [...taskKeys.events(id), errorsOnly],
      (found) => found && { ...found, pages: withEvent(found.pages, event) },
    );
  }
}
