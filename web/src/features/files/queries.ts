/** What the panes ask the API. */

import {
  keepPreviousData,
  type QueryClient,
  queryOptions,
  useMutation,
  useQuery,
  useQueryClient,
} from "@tanstack/react-query";
import { useEffect, useRef } from "react";
import { ApiProblem, client, data } from "@/api/client";
import type { components } from "@/api/schema";
import { entryOf, type Listing } from "@/features/files/listing";
import type { TransferDocument } from "@/features/files/options";
import { above } from "@/features/files/paths";

type Schemas = components["schemas"];
export type Endpoint = Pick<
  Schemas["Endpoint"],
  "id" | "entity_type" | "display_name" | "description" | "owner_string"
> & {
  DATA: Pick<Schemas["Server"], "hostname" | "port">[];
};
export type Task = Pick<
  Schemas["Task"],
  | "task_id"
  | "type"
  | "status"
  | "label"
  | "is_ok"
  | "is_paused"
  | "completion_time"
  | "files"
  | "directories"
  | "files_transferred"
  | "files_skipped"
  | "bytes_transferred"
  | "source_endpoint_display_name"
  | "destination_endpoint_display_name"
>;
export type DeleteDocument = Schemas["DeleteDocument"];

/** The first part of a listing is on the screen at once; what follows comes in few parts, because the server
 * lists the whole folder for each of them. */
const FIRST_PART = 2_000;
const PART = 50_000;
/** The API does not reach further (`limit` and `offset` of ls together). */
export const REACH = 200_000;
/** A listing younger than this is shown as it is. */
const FRESH_MS = 15_000;
/** Large listings are not kept for long: 100,000 entries are some 20 MB. */
const KEPT_MS = 60_000;
const SEARCH_RESULTS = 20;
/** What the names of a deployment's sample endpoints begin with. */
const SAMPLES = "go#ep";
const TASKS_SHOWN = 5;
const ENDED_SHOWN = 5;
const LOOK_EVERY_MS = 2_000;
const LOOK_SELDOM_MS = 30_000;

function listingKey(endpointId: string, path: string | null) {
  return ["files", "listing", endpointId, path] as const;
}

async function part(endpointId: string, path: string | null, offset: number, signal: AbortSignal) {
  const limit = offset === 0 ? FIRST_PART : Math.min(PART, REACH - offset);
  return data(
    client.GET("/v0.10/operation/endpoint/{endpoint_id}/ls", {
      params: {
        path: { endpoint_id: endpointId },
        query: { show_hidden: "1", limit, offset, ...(path === null ? {} : { path }) },
      },
      signal,
    }),
  );
}

function listingOptions(queries: QueryClient, endpointId: string, path: string | null, onlyFirst: boolean) {
  const queryKey = listingKey(endpointId, path);
  return queryOptions({
    queryKey,
    queryFn: async ({ signal }): Promise<Listing> => {
      const before = queries.getQueryState<Listing>(queryKey);
      const begun = before?.data;
      const goesOn = begun && !begun.complete && Date.now() - before.dataUpdatedAt < FRESH_MS;
      let listing = goesOn ? begun : null;
      let offset = begun && goesOn ? begun.entries.length : 0;
      const names = new Set(listing?.entries.map((one) => one.name));
      while (listing === null || (!listing.complete && !onlyFirst)) {
        const got = await part(endpointId, path, offset, signal);
        offset += got.DATA.length;
        const more: Listing["entries"] = [];
        for (const one of got.DATA) {
          // the folder may have changed between two parts: no name twice
          if (names.has(one.name)) continue;
          names.add(one.name);
          more.push(entryOf(one));
        }
        const entries = listing ? [...listing.entries, ...more] : more;
        listing = {
          path: got.path,
          absolutePath: got.absolute_path,
          entries,
          total: got.total,
          complete: got.DATA.length === 0 || offset >= Math.min(got.total, REACH),
        };
        // an older whole listing stays on the screen until the new one is whole
        if (!listing.complete && !begun?.complete) queries.setQueryData(queryKey, listing);
      }
      return listing;
    },
    structuralSharing: false,
    staleTime: FRESH_MS,
    gcTime: KEPT_MS,
    refetchOnWindowFocus: false,
    // what an endpoint says it says again; a connection that was lost on the way is worth another try
    retry: (failures, error) =>
      failures < 1 && error instanceof ApiProblem && /\.?(Unreachable|ConnectionLost)$/.test(error.code),
  });
}

export function useListing(endpointId: string | null, path: string | null) {
  const queries = useQueryClient();
  const query = useQuery({
    ...listingOptions(queries, endpointId ?? "", path, false),
    enabled: endpointId !== null,
  });
  const { data: listing, isFetching, isError, refetch } = query;
  const begun = listing !== undefined && !listing.complete && !isFetching && !isError;
  useEffect(() => {
    // a look ahead has read the first part only
    if (begun) void refetch();
  }, [begun, refetch]);
  return query;
}

/** Read the first part of a folder that will probably be opened. */
export function lookAhead(queries: QueryClient, endpointId: string, path: string) {
  void queries.prefetchQuery(listingOptions(queries, endpointId, path, true));
}

export function stopLookingAhead(queries: QueryClient, endpointId: string, path: string) {
  // a pane that shows it is not disturbed
  void queries.cancelQueries({ queryKey: listingKey(endpointId, path), type: "inactive" });
}

/** All listings of a collection are read anew: something there has changed. */
export function changed(queries: QueryClient, endpointId: string) {
  return queries.invalidateQueries({ queryKey: ["files", "listing", endpointId] });
}

/** The names in a folder, for the Tab key in a path. */
export async function namesIn(queries: QueryClient, endpointId: string, path: string) {
  const listing = await queries.fetchQuery(listingOptions(queries, endpointId, path, false));
  return listing.entries;
}

/** The nearest folder above that is there. */
export async function nearest(endpointId: string, path: string): Promise<string> {
  for (let folder = above(path); folder !== null && folder !== "/"; folder = above(folder)) {
    const { response } = await client.GET("/v0.10/operation/endpoint/{endpoint_id}/stat", {
      params: { path: { endpoint_id: endpointId }, query: { path: folder } },
    });
    if (response.ok) return folder;
  }
  return "/";
}

export function useEndpoint(endpointId: string | null) {
  return useQuery({
    queryKey: ["endpoint", endpointId],
    queryFn: ({ signal }) =>
      data(
        client.GET("/v0.10/endpoint/{endpoint_id}", {
          params: { path: { endpoint_id: endpointId ?? "" } },
          signal,
        }),
      ),
    enabled: endpointId !== null,
    staleTime: 60_000,
  });
}

function useSearch(scope: "recently-used" | "my-endpoints" | "all", text: string, enabled: boolean) {
  return useQuery({
    queryKey: ["endpoint_search", scope, text],
    queryFn: async ({ signal }) => {
      const found = await data(
        client.GET("/v0.10/endpoint_search", {
          params: {
            query: {
              filter_scope: scope,
              filter_non_functional: "0",
              limit: SEARCH_RESULTS,
              ...(text === "" ? {} : { filter_fulltext: text }),
            },
          },
          signal,
        }),
      );
      return found.DATA;
    },
    enabled,
    placeholderData: keepPreviousData,
  });
}

export function useBookmarks() {
  return useQuery({
    queryKey: ["bookmark_list"],
    queryFn: async ({ signal }) => (await data(client.GET("/v0.10/bookmark_list", { signal }))).DATA,
  });
}

/** What the picker offers; `text` is what was typed, once typing has paused. */
export function useCollections(text: string) {
  const recent = useSearch("recently-used", "", true);
  const mine = useSearch("my-endpoints", "", true);
  const isNew = recent.data?.length === 0 && mine.data?.length === 0;
  return {
    recent,
    mine,
    bookmarks: useBookmarks(),
    found: useSearch("all", text, text !== ""),
    samples: useSearch("all", SAMPLES, isNew),
  };
}

export function useAddBookmark() {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (body: { name: string; endpoint_id: string; path: string }) =>
      data(client.POST("/v0.10/bookmark", { body })),
    onSuccess: () => queries.invalidateQueries({ queryKey: ["bookmark_list"] }),
  });
}

export function useMakeFolder(endpointId: string) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (path: string) =>
      data(
        client.POST("/v0.10/operation/endpoint/{endpoint_id}/mkdir", {
          params: { path: { endpoint_id: endpointId } },
          body: { path },
        }),
      ),
    onSuccess: () => changed(queries, endpointId),
  });
}

export function useRename(endpointId: string) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: ({ from, to }: { from: string; to: string }) =>
      data(
        client.POST("/v0.10/operation/endpoint/{endpoint_id}/rename", {
          params: { path: { endpoint_id: endpointId } },
          body: { old_path: from, new_path: to },
        }),
      ),
    onSuccess: () => changed(queries, endpointId),
  });
}

export function useDelete() {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (body: DeleteDocument) => data(client.POST("/v0.10/delete", { body })),
    onSuccess: () => queries.invalidateQueries({ queryKey: ["files", "tasks"] }),
  });
}

export function useTransfer() {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (body: TransferDocument) => data(client.POST("/v0.10/transfer", { body })),
    onSuccess: () => queries.invalidateQueries({ queryKey: ["files", "tasks"] }),
  });
}

/** What is under way at these endpoints, and what has just ended; what that wrote to is read anew. */
export function useTasksHere(endpointIds: string[]) {
  const queries = useQueryClient();
  const ids = [...new Set(endpointIds)].sort();
  const query = useQuery({
    queryKey: ["files", "tasks", ids],
    queryFn: async ({ signal }) => {
      const [running, ended] = await Promise.all(
        [
          { filter: "status:ACTIVE,INACTIVE", orderby: "request_time DESC", limit: TASKS_SHOWN },
          { filter: "status:SUCCEEDED,FAILED", orderby: "completion_time DESC", limit: ENDED_SHOWN },
        ].map(({ filter, ...rest }) =>
          data(
            client.GET("/v0.10/task_list", {
              params: { query: { filter: `${filter}/endpoint:${ids.join(",")}`, ...rest } },
              signal,
            }),
          ),
        ),
      );
      return { running: running?.DATA ?? [], ended: ended?.DATA ?? [] };
    },
    enabled: ids.length > 0,
    refetchInterval: ({ state }) => (state.data?.running.length ? LOOK_EVERY_MS : LOOK_SELDOM_MS),
    placeholderData: keepPreviousData,
  });
  const ended = query.data?.ended;
  const known = useRef<Set<string> | null>(null);
  useEffect(() => {
    if (!ended) return;
    const before = known.current;
    known.current = new Set([...(before ?? []), ...ended.map((one) => one.task_id)]);
    if (before === null) return;
    const written = ended
      .filter((one) => !before.has(one.task_id))
      .map((one) => (one.type === "DELETE" ? one.source_endpoint_id : one.destination_endpoint_id));
    for (const id of new Set(written)) if (id) void changed(queries, id);
  }, [ended, queries]);
  return query;
}
