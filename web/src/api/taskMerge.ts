/** What the stream tells and what the routes answer, put together. Pure. */

import type { Progress, TaskEvent } from "@/api/progress";
import type { components } from "@/api/schema";

type Document = components["schemas"]["Task"];
/** Without what is always null here. */
export type Task = { [K in keyof Document as [Document[K]] extends [null] ? never : K]: Document[K] };

/** A task as it is shown: the API's document, and what only the stream knows. */
export interface LiveTask extends Task {
  /** Of the files found so far. */
  bytes_total?: number | null;
  bytes_per_second?: number;
  walked?: boolean;
}

const LIVE_ONLY = ["bytes_total", "bytes_per_second", "walked"] as const;

/** The task with what is newer in `progress`; the same object if nothing is. */
export function withProgress(task: LiveTask, progress: Progress): LiveTask {
  const next = { ...task } as Record<string, unknown>;
  let changed = false;
  for (const [field, value] of Object.entries(progress)) {
    if (field === "time" || next[field] === value) continue;
    next[field] = value;
    changed = true;
  }
  return changed ? (next as unknown as LiveTask) : task;
}

/** A document just read, with what only the stream had told of the task before. */
export function keepingLive(read: Task, known: LiveTask | undefined): LiveTask {
  const kept: LiveTask = { ...read };
  if (known)
    for (const field of LIVE_ONLY) if (field in known) Object.assign(kept, { [field]: known[field] });
  if (isFinished(read)) kept.bytes_per_second = 0;
  return kept;
}

export function isFinished(task: Pick<Task, "status">): boolean {
  return task.status === "SUCCEEDED" || task.status === "FAILED";
}

/** Pages with the tasks that `changes` tells of replaced; the same objects where nothing has changed. */
export function mergePages<P extends { DATA: LiveTask[] }>(
  pages: P[],
  changes: ReadonlyMap<string, Progress>,
): P[] {
  let any = false;
  const merged = pages.map((page) => {
    let here = false;
    const tasks = page.DATA.map((task) => {
      const progress = changes.get(task.task_id);
      const next = progress ? withProgress(task, progress) : task;
      here ||= next !== task;
      return next;
    });
    any ||= here;
    return here ? { ...page, DATA: tasks } : page;
  });
  return any ? merged : pages;
}

/** Each once: while one pages through, new tasks move the old ones to later pages. */
export function unique(pages: { DATA: LiveTask[] }[]): LiveTask[] {
  const seen = new Map<string, LiveTask>();
  for (const page of pages)
    for (const task of page.DATA) if (!seen.has(task.task_id)) seen.set(task.task_id, task);
  return [...seen.values()];
}

/** Pages of events, newest first, with `event` in its place; the same pages if it is there, or beyond them. */
export function withEvent<P extends { DATA: TaskEvent[]; total: number }>(pages: P[], event: TaskEvent): P[] {
  if (pages.some((page) => page.DATA.some((one) => one.id === event.id))) return pages;
  const at = pages.findIndex((page) => page.DATA.some((one) => one.id < event.id));
  const loaded = pages.reduce((sum, page) => sum + page.DATA.length, 0);
  const last = pages.length - 1;
  const whole = loaded >= (pages[last]?.total ?? Number.POSITIVE_INFINITY);
  if (at < 0 && !whole) return pages;
  return pages.map((page, number) => {
    const more = { ...page, total: page.total + 1 };
    if (number !== (at < 0 ? last : at)) return more;
    const before = page.DATA.findIndex((one) => one.id < event.id);
    more.DATA = page.DATA.toSpliced(before < 0 ? page.DATA.length : before, 0, event);
    return more;
  });
}
