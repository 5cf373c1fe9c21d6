/**
 * What the service tells while tasks run (`/task/<id>/progress`, `/task_progress`), for as long as somebody looks.
 *
 * Not `EventSource`: it cannot send a bearer token. As that, it reconnects with the last id.
 */

import { ApiProblem, authorizedFetch } from "@/api/client";
import { EventStreamParser, type ServerEvent } from "@/api/eventStream";
import type { components } from "@/api/schema";

type Schemas = components["schemas"];
export type TaskEvent = Schemas["Event"];
/** `event: task`: the whole state of a task. */
export type Progress = Schemas["TaskProgress"];
export type FileInFlight = Schemas["FileInFlight"];

export interface Listener {
  onTask?: (progress: Progress) => void;
  onFiles?: (files: FileInFlight[], more: number) => void;
  onEvent?: (event: TaskEvent) => void;
  onEnd?: (taskId: string) => void;
  /** `absent`: this service has no such stream; ask now and then instead. */
  onConnection?: (state: "live" | "lost" | "absent") => void;
}

/** The service says something every 15 s; after more than two such silences nobody is there. */
const SILENCE_MS = 40_000;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 30_000;
/** So long a hidden page keeps its stream: browsers have six connections for all tabs of a service. */
const HIDDEN_MS = 10_000;

/** How long to wait before the next attempt, after so many in vain. By chance up to half of it less. */
export function waitMs(attempts: number, chance: number = Math.random()): number {
  return Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.min(attempts, 16)) * (1 - chance / 2);
}

/**
 * Follow a stream until `signal` aborts, or it has ended for good.
 * `ends`: with the end of a task. `after`: the last event that is known already.
 */
export async function follow(
  path: string,
  listener: Listener,
  signal: AbortSignal,
  { ends, after: known = "" }: { ends: boolean; after?: string },
): Promise<void> {
  let lastId = known;
  let attempts = 0;
  while (!signal.aborted) {
    await visible(signal);
    const cut = new AbortController();
    const stop = () => cut.abort();
    signal.addEventListener("abort", stop);
    const unwatch = whenHidden(stop);
    try {
      const over = await readOnce(path, lastId, cut, (event) => {
        attempts = 0;
        lastId = event.id;
        return tell(event, listener) && ends;
      });
      if (over) return;
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiProblem && error.status === 404) {
        listener.onConnection?.("absent");
        return;
      }
    } finally {
      unwatch();
      signal.removeEventListener("abort", stop);
      cut.abort();
    }
    if (signal.aborted) return;
    if (document.visibilityState === "visible") {
      if (attempts > 0) listener.onConnection?.("lost");
      await pause(waitMs(attempts), signal);
      attempts += 1;
    }
  }

  async function readOnce(
    from: string,
    after: string,
    cut: AbortController,
    take: (event: ServerEvent) => boolean,
  ): Promise<boolean> {
    const headers: Record<string, string> = { Accept: "text/event-stream" };
    if (after) headers["Last-Event-ID"] = after;
    let timer = setTimeout(() => cut.abort(), SILENCE_MS);
    try {
      const response = await authorizedFetch(new Request(from, { headers, signal: cut.signal }));
      if (!response.ok || !response.body) {
        await response.body?.cancel();
        throw new ApiProblem(response.status, "NoStream", response.statusText, null);
      }
      listener.onConnection?.("live");
      const parser = new EventStreamParser();
      parser.lastId = after;
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return false;
        clearTimeout(timer);
        timer = setTimeout(() => cut.abort(), SILENCE_MS);
        for (const event of parser.push(value)) if (take(event)) return true;
      }
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Whether it was the task's end. */
function tell({ event, data }: ServerEvent, listener: Listener): boolean {
  const document = JSON.parse(data);
  if (event === "task") listener.onTask?.(document);
  else if (event === "files") listener.onFiles?.(document.files, document.more);
  else if (event === "event") listener.onEvent?.(document);
  else if (event === "end") {
    listener.onEnd?.(document.task_id);
    return true;
  }
  return false;
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    const stop = () => {
      clearTimeout(timer);
      resolve();
    };
    signal.addEventListener("abort", stop, { once: true });
  });
}

function visible(signal: AbortSignal): Promise<void> {
  if (document.visibilityState === "visible") return Promise.resolve();
  return new Promise((resolve) => {
    const look = () => {
      if (document.visibilityState !== "visible" && !signal.aborted) return;
      document.removeEventListener("visibilitychange", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
    signal.addEventListener("abort", look, { once: true });
  });
}

/** Calls `act` when the page has been hidden for a while. Returns how to stop watching. */
function whenHidden(act: () => void): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const look = () => {
    clearTimeout(timer);
    if (document.visibilityState === "hidden") timer = setTimeout(act, HIDDEN_MS);
  };
  document.addEventListener("visibilitychange", look);
  look();
  return () => {
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", look);
  };
}
