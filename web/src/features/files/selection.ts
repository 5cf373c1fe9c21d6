/** Which entries are chosen, and where the keyboard is. By name: the order may change under it. */

import type { Entry } from "@/features/files/listing";

export interface Selection {
  readonly chosen: ReadonlySet<string>;
  /** The other end of a range that shift makes. */
  readonly anchor: string | null;
  readonly focus: string | null;
}

export const NOTHING: Selection = { chosen: new Set(), anchor: null, focus: null };

/** What is shown, in its order, with the place of each name. */
export interface Rows {
  readonly entries: readonly Entry[];
  indexOf(name: string | null): number;
}

export function rowsOf(entries: readonly Entry[]): Rows {
  let places: Map<string, number> | null = null;
  return {
    entries,
    indexOf(name) {
      if (name === null) return -1;
      places ??= new Map(entries.map((one, index) => [one.name, index]));
      return places.get(name) ?? -1;
    },
  };
}

export interface Held {
  /** Shift: all from the anchor to here. */
  range?: boolean;
  /** Control or command: the others stay as they are. */
  keep?: boolean;
}

export function pick(rows: Rows, before: Selection, index: number, held: Held): Selection {
  const name = rows.entries[index]?.name;
  if (name === undefined) return before;
  if (held.range) return range(rows, before, index, held.keep ?? false);
  if (held.keep) return toggle(before, name);
  return { chosen: new Set([name]), anchor: name, focus: name };
}

export function toggle(before: Selection, name: string): Selection {
  const chosen = new Set(before.chosen);
  if (!chosen.delete(name)) chosen.add(name);
  return { chosen, anchor: name, focus: name };
}

function range(rows: Rows, before: Selection, index: number, keep: boolean): Selection {
  const name = rows.entries[index]?.name ?? null;
  const from = Math.max(0, rows.indexOf(before.anchor ?? before.focus));
  const chosen = new Set(keep ? before.chosen : []);
  for (let at = Math.min(from, index); at <= Math.max(from, index); at += 1) {
    const one = rows.entries[at];
    if (one) chosen.add(one.name);
  }
  return { chosen, anchor: rows.entries[from]?.name ?? null, focus: name };
}

/** The keyboard goes to another row, taking the choice along; with control it goes alone. */
export function move(rows: Rows, before: Selection, to: number, held: Held): Selection {
  const last = rows.entries.length - 1;
  if (last < 0) return before;
  const index = Math.min(last, Math.max(0, to));
  if (held.keep && !held.range) return { ...before, focus: rows.entries[index]?.name ?? null };
  return pick(rows, before, index, held);
}

export function all(rows: Rows, before: Selection): Selection {
  return { ...before, chosen: new Set(rows.entries.map((one) => one.name)) };
}

export function none(before: Selection): Selection {
  return { ...before, chosen: new Set() };
}

/** What is chosen of what is shown: what is filtered out, or gone, is not acted upon. */
export function chosenOf(rows: Rows, selection: Selection): Entry[] {
  if (selection.chosen.size === 0) return [];
  return rows.entries.filter((one) => selection.chosen.has(one.name));
}

/** The next row after `from` that begins with what was typed; a repeated letter goes from one to the next. */
export function typedTo(rows: Rows, from: number, typed: string): number {
  const text = typed.toLowerCase();
  const repeated = text.length > 1 && [...text].every((one) => one === text[0]);
  const wanted = repeated ? (text[0] ?? "") : text;
  const first = wanted.length === 1 ? from + 1 : Math.max(0, from);
  const count = rows.entries.length;
  for (let step = 0; step < count; step += 1) {
    const index = (first + step) % count;
    if (rows.entries[index]?.name.toLowerCase().startsWith(wanted)) return index;
  }
  return -1;
}
