/** What is in a folder, and in which order it is shown. */

import type { components } from "@/api/schema";

export type FileDocument = Pick<
  components["schemas"]["File"],
  "name" | "type" | "size" | "last_modified" | "link_target"
>;

export interface Entry {
  name: string;
  kind: "folder" | "file" | "other";
  isLink: boolean;
  size: number;
  /** `2026-01-31 12:00:00+00:00`: in alphabetical order they are in order of time. */
  modified: string | null;
}

export interface Listing {
  path: string;
  absolutePath: string;
  entries: Entry[];
  /** All that are there; more than `entries` while it is loading, and if there are too many. */
  total: number;
  complete: boolean;
}

export type Column = "name" | "size" | "modified";

export interface Sort {
  column: Column;
  descending: boolean;
}

export const BY_NAME: Sort = { column: "name", descending: false };

export function entryOf(file: FileDocument): Entry {
  return {
    name: file.name,
    kind: file.type === "dir" ? "folder" : file.type === "file" ? "file" : "other",
    isLink: file.link_target !== null,
    size: file.size,
    modified: file.last_modified,
  };
}

const collator = new Intl.Collator(undefined, { numeric: true });

/** In the order of names as people count: `run 9` before `run 10`. Kept: it is the costly one. */
const byName = new WeakMap<Entry[], Entry[]>();

function inNameOrder(entries: Entry[]): Entry[] {
  let ordered = byName.get(entries);
  if (!ordered) {
    ordered = entries.toSorted((a, b) => rank(a) - rank(b) || collator.compare(a.name, b.name));
    byName.set(entries, ordered);
  }
  return ordered;
}

function rank(entry: Entry): number {
  return entry.kind === "folder" ? 0 : 1;
}

/** What is shown of a listing, folders first. */
export function shown(entries: Entry[], sort: Sort, filter: string, hidden: boolean): Entry[] {
  let found = inNameOrder(entries);
  const wanted = matcher(filter);
  if (!hidden || wanted) {
    found = found.filter(({ name }) => (hidden || !name.startsWith(".")) && (!wanted || wanted(name)));
  }
  const way = sort.descending ? -1 : 1;
  if (sort.column === "name") {
    if (!sort.descending) return found;
    const firstFile = found.findIndex((one) => one.kind !== "folder");
    const folders = firstFile < 0 ? found : found.slice(0, firstFile);
    return [...folders.toReversed(), ...(firstFile < 0 ? [] : found.slice(firstFile).toReversed())];
  }
  if (sort.column === "size") {
    // a folder's size says nothing of what is in it
    return found.toSorted((a, b) => rank(a) - rank(b) || (a.kind === "folder" ? 0 : way * (a.size - b.size)));
  }
  return found.toSorted((a, b) => rank(a) - rank(b) || way * compared(a.modified ?? "", b.modified ?? ""));
}

function compared(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** A text stands in the name, in whatever case; with `*` and `?` it is a pattern of the whole name. */
function matcher(filter: string): ((name: string) => boolean) | null {
  const text = filter.trim().toLowerCase();
  if (text === "") return null;
  if (!/[*?]/.test(text)) return (name) => name.toLowerCase().includes(text);
  const parts = text.split("*");
  return (name) => fits(name.toLowerCase(), parts);
}

/** A glob by its parts between stars: each as early as it can, which is enough, and never slow. */
function fits(name: string, parts: string[]): boolean {
  const first = parts[0] ?? "";
  if (parts.length === 1) return name.length === first.length && stands(name, first, 0);
  if (!stands(name, first, 0)) return false;
  let at = first.length;
  for (const part of parts.slice(1, -1)) {
    while (at + part.length <= name.length && !stands(name, part, at)) at += 1;
    at += part.length;
  }
  const last = parts.at(-1) ?? "";
  return at + last.length <= name.length && stands(name, last, name.length - last.length);
}

function stands(name: string, part: string, at: number): boolean {
  if (at < 0 || at + part.length > name.length) return false;
  for (let i = 0; i < part.length; i += 1) {
    if (part[i] !== "?" && part[i] !== name[at + i]) return false;
  }
  return true;
}

export interface Sum {
  folders: number;
  files: number;
  /** Of the files; what is in the folders nobody has counted. */
  bytes: number;
}

export function sumOf(entries: Iterable<Entry>): Sum {
  const sum = { folders: 0, files: 0, bytes: 0 };
  for (const one of entries) {
    if (one.kind === "folder") sum.folders += 1;
    else {
      sum.files += 1;
      sum.bytes += one.size;
    }
  }
  return sum;
}
