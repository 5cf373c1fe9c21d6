/** One pane: where it is, what it shows, and what is chosen in it. */

import { useNavigate, useSearch } from "@tanstack/react-router";
import { useCallback, useDeferredValue, useEffect, useMemo, useRef, useState } from "react";
import { type Entry, type Sort, shown } from "@/features/files/listing";
import { above, inside, nameOf } from "@/features/files/paths";
import { useEndpoint, useListing } from "@/features/files/queries";
import { type Place, placeOf, type Side, withPlace } from "@/features/files/search";
import { chosenOf, NOTHING, rowsOf, type Selection } from "@/features/files/selection";

/** Typing in the filter reaches the address when it has paused. */
const TYPED_MS = 300;
const NO_ENTRIES: Entry[] = [];

export type Pane = ReturnType<typeof usePane>;

export function usePane(side: Side) {
  const search = useSearch({ from: "/inside/files" });
  const navigate = useNavigate({ from: "/files" });
  const place = placeOf(search, side);
  const { endpointId, hidden } = place;
  const endpoint = useEndpoint(endpointId);
  const listing = useListing(endpointId, place.path);

  const change = useCallback(
    (change: Partial<Place>, replace = false) =>
      void navigate({ search: (before) => withPlace(before, side, change), replace }),
    [navigate, side],
  );

  const [filter, setFilter] = useState(place.filter);
  const written = useRef(place.filter);
  useEffect(() => {
    // the address was changed by something else: back, or a link
    if (place.filter !== written.current) setFilter(place.filter);
    written.current = place.filter;
  }, [place.filter]);
  useEffect(() => {
    if (filter === written.current) return;
    const timer = setTimeout(() => {
      written.current = filter;
      change({ filter }, true);
    }, TYPED_MS);
    return () => clearTimeout(timer);
  }, [filter, change]);

  const looked = useDeferredValue(filter);
  const entries = listing.data?.entries ?? NO_ENTRIES;
  const { column, descending } = place.sort;
  const rows = useMemo(
    () => rowsOf(shown(entries, { column, descending }, looked, hidden)),
    [entries, column, descending, looked, hidden],
  );

  const at = `${endpointId}|${place.path}`;
  const [kept, setKept] = useState({ at, selection: NOTHING });
  const selection = kept.at === at ? kept.selection : NOTHING;
  const select = useCallback(
    (next: Selection | ((before: Selection) => Selection)) =>
      setKept((before) => {
        const current = before.at === at ? before.selection : NOTHING;
        return { at, selection: typeof next === "function" ? next(current) : next };
      }),
    [at],
  );
  const chosen = useMemo(() => chosenOf(rows, selection), [rows, selection]);

  const path = place.path ?? listing.data?.path ?? null;
  const absolutePath = listing.data?.absolutePath;

  /** Show another folder; `focus`: the name that the keyboard begins at. */
  const go = useCallback(
    (to: string, focus: string | null = null, at = endpointId) => {
      setKept({ at: `${at}|${to}`, selection: { ...NOTHING, focus } });
      written.current = "";
      setFilter("");
      change({ endpointId: at, path: to, filter: "" });
    },
    [change, endpointId],
  );

  return {
    side,
    endpointId,
    endpoint,
    name: endpoint.data?.display_name ?? "",
    path,
    /** The folder above, as far as it is known. */
    parent: path === null ? null : above(path, absolutePath),
    absolutePath,
    listing,
    rows,
    selection,
    select,
    chosen,
    sort: place.sort,
    setSort: (sort: Sort) => change({ sort }, true),
    filter,
    setFilter,
    hidden,
    setHidden: (hidden: boolean) => change({ hidden }, true),
    go,
    choose: (id: string, path: string | null = null) => {
      written.current = "";
      setFilter("");
      change({ endpointId: id, path, filter: "" });
    },
    up: () => {
      if (path === null) return;
      const to = above(path, absolutePath);
      if (to !== null) go(to, nameOf(path === "/~/" ? (absolutePath ?? path) : path));
    },
    enter: (entry: Entry) => {
      if (entry.kind === "folder" && path !== null) go(inside(path, entry.name, true));
    },
  };
}
