import { describe, expect, it } from "vitest";
import type { Progress, TaskEvent } from "@/api/progress";
import {
  keepingLive,
  type LiveTask,
  mergePages,
  type Task,
  unique,
  withEvent,
  withProgress,
} from "@/api/taskMerge";

const task = (id: string, more: Partial<LiveTask> = {}) =>
  ({ task_id: id, status: "ACTIVE", bytes_transferred: 0, ...more }) as LiveTask;
const progress = (id: string, more: Partial<Progress> = {}) =>
  ({ task_id: id, status: "ACTIVE", bytes_transferred: 0, time: "later", ...more }) as Progress;

describe("progress", () => {
  it("changes what it tells and nothing else", () => {
    const before = task("a", { owner_string: "me" });
    expect(withProgress(before, progress("a", { bytes_transferred: 5, bytes_total: 9 }))).toEqual({
      ...before,
      bytes_transferred: 5,
      bytes_total: 9,
    });
  });

  it("leaves a task that it says nothing new of the same object", () => {
    const before = task("a");
    expect(withProgress(before, progress("a"))).toBe(before);
  });

  it("leaves pages and rows without news the same objects", () => {
    const pages = [{ DATA: [task("a"), task("b")] }, { DATA: [task("c")] }];
    const merged = mergePages(pages, new Map([["b", progress("b", { bytes_transferred: 1 })]]));
    expect(merged[0]?.DATA[1]?.bytes_transferred).toBe(1);
    expect(merged[0]?.DATA[0]).toBe(pages[0]?.DATA[0]);
    expect(merged[1]).toBe(pages[1]);
    expect(mergePages(pages, new Map([["z", progress("z")]]))).toBe(pages);
  });

  it("is not forgotten when the task is read anew, but nothing moves after the end", () => {
    const known = task("a", { bytes_total: 9, bytes_per_second: 3, walked: true });
    expect(keepingLive(task("a") as Task, known)).toMatchObject({ bytes_total: 9, bytes_per_second: 3 });
    const ended = keepingLive(task("a", { status: "SUCCEEDED" }) as Task, known);
    expect(ended).toMatchObject({ bytes_total: 9, bytes_per_second: 0 });
  });
});

it("shows a task once that has moved to the next page", () => {
  const shown = unique([{ DATA: [task("a"), task("b")] }, { DATA: [task("b"), task("c")] }]);
  expect(shown.map((one) => one.task_id)).toEqual(["a", "b", "c"]);
});

describe("events", () => {
  const event = (id: number) => ({ id }) as TaskEvent;
  const page = (total: number, ...DATA: TaskEvent[]) => ({ total, DATA });
  const ids = (pages: { DATA: TaskEvent[] }[]) => pages.map((one) => one.DATA.map(({ id }) => id).join(""));

  it("come in front of what is older", () => {
    expect(ids(withEvent([page(3, event(5), event(3)), page(3, event(1))], event(7)))).toEqual(["753", "1"]);
    expect(ids(withEvent([page(3, event(5), event(3)), page(3, event(1))], event(2)))).toEqual(["53", "21"]);
  });

  it("come once", () => {
    const pages = [page(2, event(5), event(3))];
    expect(withEvent(pages, event(3))).toBe(pages);
  });

  it("are left out when they belong to a page that is not loaded", () => {
    const pages = [page(9, event(5), event(3))];
    expect(withEvent(pages, event(1))).toBe(pages);
    expect(withEvent([page(0)], event(1))).toEqual([page(1, event(1))]);
  });
});
