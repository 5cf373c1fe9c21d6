/** What the address of the page holds: both panes, as in links to the Globus file manager. */

import { BY_NAME, type Column, type Sort } from "@/features/files/listing";

export type Side = "origin" | "destination";

export const OTHER: Record<Side, Side> = { origin: "destination", destination: "origin" };

/** One pane. No path: where the endpoint wants one to begin. */
export interface Place {
  endpointId: string | null;
  path: string | null;
  sort: Sort;
  filter: string;
  hidden: boolean;
}

export interface FilesSearch {
  origin_id?: string;
  origin_path?: string;
  origin_sort?: string;
  origin_filter?: string;
  origin_hidden?: boolean;
  destination_id?: string;
  destination_path?: string;
  destination_sort?: string;
  destination_filter?: string;
  destination_hidden?: boolean;
  two_pane?: boolean;
}

const TEXTS = ["id", "path", "sort", "filter"] as const;
const SIDES: Side[] = ["origin", "destination"];
const COLUMNS: readonly string[] = ["name", "size", "modified"] satisfies Column[];

export function filesSearch(search: Record<string, unknown>): FilesSearch {
  const kept: Record<string, unknown> = {};
  for (const side of SIDES) {
    for (const one of TEXTS) {
      const value = search[`${side}_${one}`];
      // a filter such as 2026 is read as a number
      if (typeof value === "string" || typeof value === "number") kept[`${side}_${one}`] = String(value);
    }
    if (search[`${side}_hidden`] === true) kept[`${side}_hidden`] = true;
  }
  if (search.two_pane === false) kept.two_pane = false;
  return kept;
}

export function placeOf(search: FilesSearch, side: Side): Place {
  return {
    endpointId: search[`${side}_id`] ?? null,
    path: search[`${side}_path`] ?? null,
    sort: sortOf(search[`${side}_sort`]),
    filter: search[`${side}_filter`] ?? "",
    hidden: search[`${side}_hidden`] ?? false,
  };
}

/** The address after a change of one pane; what is as usual is left out. */
export function withPlace(search: FilesSearch, side: Side, change: Partial<Place>): FilesSearch {
  const place = { ...placeOf(search, side), ...change };
  const sort = textOf(place.sort);
  return {
    ...search,
    [`${side}_id`]: place.endpointId ?? undefined,
    [`${side}_path`]: place.path ?? undefined,
    [`${side}_sort`]: sort === "name" ? undefined : sort,
    [`${side}_filter`]: place.filter || undefined,
    [`${side}_hidden`]: place.hidden || undefined,
  };
}

/** A link to one folder, for others. */
export function linkTo(endpointId: string, path: string): string {
  return `/files?${new URLSearchParams({ origin_id: endpointId, origin_path: path })}`;
}

function sortOf(text: string | undefined): Sort {
  const column = text?.replace(/^-/, "") ?? "";
  return COLUMNS.includes(column)
    ? { column: column as Column, descending: text?.startsWith("-") ?? false }
    : BY_NAME;
}

function textOf(sort: Sort): string {
  return (sort.descending ? "-" : "") + sort.column;
}
