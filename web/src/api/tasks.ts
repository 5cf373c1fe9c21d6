/** Reading tasks and what belongs to them, and asking something of them. */

import {
  infiniteQueryOptions,
  type QueryClient,
  queryOptions,
  useMutation,
  useQueryClient,
} from "@tanstack/react-query";
import { client, data } from "@/api/client";
import type { components } from "@/api/schema";
import { keepingLive, type LiveTask } from "@/api/taskMerge";

type Schemas = components["schemas"];
export type TaskItem = Schemas["TaskItem"];
export type FidelityReport = Schemas["FidelityReport"];
export type FinishedFile = Schemas["SuccessfulTransfer"];
export type SkippedFile = Schemas["SkippedError"];

export const PAGE = 100;
const EVENTS_PAGE = 100;
const ITEMS_PAGE = 100;

export const taskKeys = {
  all: ["tasks"] as const,
  lists: ["tasks", "list"] as const,
  one: (id: string) => ["tasks", "one", id] as const,
  events: (id: string) => ["tasks", "events", id] as const,
};

/** How often is asked while there is no stream. */
export const POLL_MS = 2_000;

export function taskListQuery(queries: QueryClient, filter: string, limit: number = PAGE) {
  return infiniteQueryOptions({
    queryKey: [...taskKeys.lists, filter, limit],
    initialPageParam: 0,
    queryFn: async ({ pageParam, signal }) => {
      const query = { limit, offset: pageParam, ...(filter ? { filter } : {}) };
      const page = await data(client.GET("/v0.10/task_list", { params: { query }, signal }));
      const known = knownTasks(queries);
      return { ...page, DATA: page.DATA.map((task) => keepingLive(task, known.get(task.task_id))) };
    },
    getNextPageParam: (last) => (last.offset + last.length < last.total ? last.offset + limit : undefined),
    placeholderData: (before) => before,
  });
}

/** What is in the cache by now, by id. */
function knownTasks(queries: QueryClient): Map<string, LiveTask> {
  const known = new Map<string, LiveTask>();
  for (const [, found] of queries.getQueriesData<{ pages: { DATA: LiveTask[] }[] }>({
    queryKey: taskKeys.lists,
  }))
    for (const page of found?.pages ?? []) for (const task of page.DATA) known.set(task.task_id, task);
  return known;
}

export function taskQuery(queries: QueryClient, id: string) {
  return queryOptions({
    queryKey: taskKeys.one(id),
    queryFn: async ({ signal }): Promise<LiveTask> => {
      const path = { task_id: id };
      const task = await data(client.GET("/v0.10/task/{task_id}", { params: { path }, signal }));
      return keepingLive(
        task,
        queries.getQueryData<LiveTask>(taskKeys.one(id)) ?? knownTasks(queries).get(id),
      );
    },
  });
}

export function eventsQuery(id: string, errorsOnly: boolean) {
  return infiniteQueryOptions({
    queryKey: [...taskKeys.events(id), errorsOnly],
    initialPageParam: 0,
    queryFn: ({ pageParam, signal }) => {
      const query = {
        limit: EVENTS_PAGE,
        offset: pageParam,
        ...(errorsOnly ? { filter: "is_error:1" } : {}),
      };
      const params = { path: { task_id: id }, query };
      return data(client.GET("/v0.10/task/{task_id}/event_list", { params, signal }));
    },
    // what the stream has put in front moves the rest, as it does on the server
    getNextPageParam: (last, pages) => {
      const loaded = pages.reduce((sum, page) => sum + page.DATA.length, 0);
      return loaded < last.total && last.length > 0 ? loaded : undefined;
    },
  });
}

/** The newest event, or error, alone. */
export function newestEventQuery(id: string, errorsOnly = false) {
  return queryOptions({
    queryKey: [...taskKeys.events(id), "newest", errorsOnly],
    queryFn: async ({ signal }) => {
      const query = { limit: 1, ...(errorsOnly ? { filter: "is_error:1" } : {}) };
      const params = { path: { task_id: id }, query };
      const page = await data(client.GET("/v0.10/task/{task_id}/event_list", { params, signal }));
      return page.DATA[0] ?? null;
    },
  });
}

export function itemsQuery(id: string) {
  return infiniteQueryOptions({
    queryKey: ["tasks", "items", id],
    staleTime: Number.POSITIVE_INFINITY, // what was asked for does not change
    initialPageParam: 0,
    queryFn: ({ pageParam, signal }) => {
      const params = { path: { task_id: id }, query: { limit: ITEMS_PAGE, offset: pageParam } };
      return data(client.GET("/v0.10/task/{task_id}/items", { params, signal }));
    },
    getNextPageParam: (last) =>
      last.offset + last.DATA.length < last.total ? last.offset + ITEMS_PAGE : undefined,
  });
}

export function finishedFilesQuery(id: string) {
  return infiniteQueryOptions({
    queryKey: ["tasks", "finished", id],
    initialPageParam: 0,
    queryFn: ({ pageParam, signal }) => {
      const params = { path: { task_id: id }, query: { marker: pageParam } };
      return data(client.GET("/v0.10/task/{task_id}/successful_transfers", { params, signal }));
    },
    getNextPageParam: (last) => last.next_marker,
  });
}

/** The first part of the files alone: what verified them is the same for all, nearly always. */
export function firstFinishedQuery(id: string) {
  return queryOptions({
    queryKey: ["tasks", "finished-first", id],
    queryFn: ({ signal }) =>
      data(
        client.GET("/v0.10/task/{task_id}/successful_transfers", {
          params: { path: { task_id: id }, query: { marker: 0 } },
          signal,
        }),
      ),
  });
}

export function skippedFilesQuery(id: string) {
  return infiniteQueryOptions({
    queryKey: ["tasks", "skipped", id],
    initialPageParam: 0,
    queryFn: ({ pageParam, signal }) => {
      const params = { path: { task_id: id }, query: { marker: pageParam } };
      return data(client.GET("/v0.10/task/{task_id}/skipped_errors", { params, signal }));
    },
    getNextPageParam: (last) => last.next_marker,
  });
}

export function fidelityQuery(id: string) {
  return queryOptions({
    queryKey: ["tasks", "fidelity", id],
    queryFn: ({ signal }) =>
      data(client.GET("/v0.10/task/{task_id}/fidelity", { params: { path: { task_id: id } }, signal })),
  });
}

/** Endpoints to choose from, the ones lately used first. */
export function usedEndpointsQuery() {
  return queryOptions({
    queryKey: ["endpoints", "recently-used"],
    queryFn: ({ signal }) =>
      data(
        client.GET("/v0.10/endpoint_search", {
          params: { query: { filter_scope: "recently-used", limit: 100 } },
          signal,
        }),
      ),
  });
}

/** What may be asked of a task. Each reads anew what it changed. */
export function useTaskActions(id: string) {
  const queries = useQueryClient();
  const params = { path: { task_id: id } };
  const onSettled = () =>
    Promise.all([
      queries.invalidateQueries({ queryKey: taskKeys.one(id) }),
      queries.invalidateQueries({ queryKey: taskKeys.lists }),
      queries.invalidateQueries({ queryKey: taskKeys.events(id) }),
    ]);
  return {
    pause: useMutation({
      mutationFn: () => data(client.POST("/v0.10/task/{task_id}/pause", { params })),
      onSettled,
    }),
    resume: useMutation({
      mutationFn: () => data(client.POST("/v0.10/task/{task_id}/resume", { params })),
      onSettled,
    }),
    cancel: useMutation({
      mutationFn: () => data(client.POST("/v0.10/task/{task_id}/cancel", { params })),
      onSettled,
    }),
    change: useMutation({
      mutationFn: (body: { label?: string | null; deadline?: string }) =>
        data(client.PUT("/v0.10/task/{task_id}", { params, body })),
      onSettled,
    }),
    runAgain: useMutation({
      mutationFn: (submissionId: string) =>
        data(
          client.POST("/v0.10/task/{task_id}/run_again", { params, body: { submission_id: submissionId } }),
        ),
      onSettled,
    }),
  };
}
