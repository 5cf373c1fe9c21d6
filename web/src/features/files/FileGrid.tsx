import { defaultRangeExtractor, useVirtualizer } from "@tanstack/react-virtual";
import { ArrowDown, ArrowUp } from "lucide-react";
import {
  type KeyboardEvent,
  type MouseEvent,
  memo,
  type PointerEvent,
  type Ref,
  useCallback,
  useEffect,
  useId,
  useImperativeHandle,
  useRef,
  useState,
} from "react";
import { useTranslation } from "react-i18next";
import styles from "@/features/files/FileGrid.module.css";
import { pictureOf } from "@/features/files/kinds";
import type { Entry, Sort } from "@/features/files/listing";
import {
  all,
  move,
  none,
  pick,
  type Rows,
  type Selection,
  toggle,
  typedTo,
} from "@/features/files/selection";
import { bytes, shortTime } from "@/ui/format";
import { Skeleton } from "@/ui/Skeleton";
import hidden from "@/ui/unseen.module.css";

/** Fingers need more room (WCAG 2.2, 2.5.8 asks for 24 px; 44 is what hands like). */
const ROW_PX = matchMedia("(pointer: coarse)").matches ? 44 : 32;
const HEAD_PX = 32;
/** Rows beyond the edges: a flick of the wheel shows no holes. */
const AHEAD = 8;
/** What is typed within this belongs to one name. */
const TYPED_MS = 700;
/** Which year it is; a page that is open over New Year's Eve may tell the old one. */
const NOW = new Date();
const HOVER_MS = 120;
const SKELETON_ROWS = 12;

export interface GridHandle {
  focus(): void;
}

/** What the keys and the mouse ask for beyond choosing. */
export interface GridActions {
  open(entry: Entry): void;
  up(): void;
  remove(): void;
  rename(entry: Entry): void;
  copy(): void;
  paste(): void;
  transfer(): void;
  editPath(): void;
  find(): void;
  across(): void;
  menu(at: { x: number; y: number }): void;
  grab(event: PointerEvent<HTMLElement>, entry: Entry): void;
  /** The pointer or the keyboard rests on it, or on nothing of note. */
  rest(entry: Entry | null): void;
}

interface Props {
  label: string;
  rows: Rows;
  selection: Selection;
  chosenCount: number;
  select: (next: Selection | ((before: Selection) => Selection)) => void;
  sort: Sort;
  onSort: (sort: Sort) => void;
  isLoading: boolean;
  isOld: boolean;
  actions: GridActions;
  ref: Ref<GridHandle>;
}

/**
 * The list of a folder, for a hundred thousand entries: only what is to be seen is there, and one listener hears
 * for all rows. The keyboard is at the grid (`aria-activedescendant`), so rows may come and go under it.
 */
export function FileGrid({
  label,
  rows,
  selection,
  chosenCount,
  select,
  sort,
  onSort,
  isLoading,
  isOld,
  actions,
  ref,
}: Props) {
  const { t } = useTranslation("files");
  const id = useId();
  const grid = useRef<HTMLDivElement>(null);
  const typed = useRef({ text: "", at: 0 });
  const pressed = useRef(false);
  const { entries } = rows;
  const focused = entries.length === 0 ? -1 : Math.max(0, rows.indexOf(selection.focus));

  useImperativeHandle(ref, () => ({ focus: () => grid.current?.focus({ preventScroll: true }) }), []);

  const virtual = useVirtualizer({
    count: entries.length,
    getScrollElement: () => grid.current,
    estimateSize: () => ROW_PX,
    overscan: AHEAD,
    scrollMargin: HEAD_PX,
    scrollPaddingStart: HEAD_PX,
    // the row of the keyboard is always there to be read out
    rangeExtractor: useCallback(
      (range: Parameters<typeof defaultRangeExtractor>[0]) => {
        const found = defaultRangeExtractor(range);
        if (focused < 0 || focused >= range.count) return found;
        const [first, last] = [found[0] ?? 0, found.at(-1) ?? 0];
        return focused < first ? [focused, ...found] : focused > last ? [...found, focused] : found;
      },
      [focused],
    ),
  });

  const name = selection.focus;
  const scrollTo = useRef(virtual.scrollToIndex);
  scrollTo.current = virtual.scrollToIndex;
  const place = name === null ? -1 : rows.indexOf(name);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another name at the same place is to be seen, too
  useEffect(() => {
    if (place >= 0) scrollTo.current(place, { align: "auto" });
  }, [name, place]);
  useEffect(() => {
    if (isLoading) grid.current?.scrollTo({ top: 0 });
  }, [isLoading]);

  const entryAt = (target: EventTarget): { entry: Entry; index: number } | null => {
    const row = (target as Element).closest<HTMLElement>("[data-index]");
    const index = Number(row?.dataset.index);
    const entry = row ? entries[index] : undefined;
    return entry ? { entry, index } : null;
  };

  const onKeyDown = (event: KeyboardEvent) => {
    if (event.target !== grid.current) return;
    const entry = entries[focused];
    const command = event.ctrlKey || event.metaKey;
    const held = { range: event.shiftKey, keep: command };
    const page = Math.max(1, Math.floor(((grid.current?.clientHeight ?? 0) - HEAD_PX) / ROW_PX) - 1);
    const to = (index: number) => select((before) => move(rows, before, index, held));
    const act = keyed(event, command, [
      ["ArrowDown", () => to(selection.focus === null && !command ? focused : focused + 1)],
      ["ArrowUp", () => to(focused - 1)],
      ["PageDown", () => to(focused + page)],
      ["PageUp", () => to(focused - page)],
      ["Home", () => to(0)],
      ["End", () => to(entries.length - 1)],
      ["ArrowLeft", actions.across],
      ["ArrowRight", actions.across],
      ["Enter", () => entry && actions.open(entry)],
      ["Alt+ArrowUp", actions.up],
      ["Backspace", actions.up],
      ["Delete", actions.remove],
      ["F2", () => entry && actions.rename(entry)],
      ["Escape", () => select(none)],
      ["ContextMenu", () => openMenu()],
      ["Shift+F10", () => openMenu()],
      ["^Enter", actions.transfer],
      ["^a", () => select((before) => all(rows, before))],
      ["^c", actions.copy],
      ["^v", actions.paste],
      ["^l", actions.editPath],
      ["^f", actions.find],
      ["^ ", () => entry && select((before) => toggle(before, entry.name))],
    ]);
    if (act) {
      event.preventDefault();
      act();
      return;
    }
    if (command || event.altKey || event.key.length !== 1) return;
    event.preventDefault();
    const running = event.timeStamp - typed.current.at < TYPED_MS ? typed.current.text : "";
    if (event.key === " " && running === "") {
      if (entry)
        select((before) => (event.shiftKey ? pick(rows, before, focused, held) : toggle(before, entry.name)));
      return;
    }
    typed.current = { text: running + event.key, at: event.timeStamp };
    const found = typedTo(rows, focused, typed.current.text);
    if (found >= 0) select((before) => pick(rows, before, found, {}));
  };

  const openMenu = () => {
    const row = grid.current?.querySelector(`[data-index="${focused}"]`) ?? grid.current;
    const box = row?.getBoundingClientRect();
    if (box) actions.menu({ x: box.left + 48, y: Math.min(box.bottom, innerHeight - 8) });
  };

  const onPointerDown = (event: PointerEvent<HTMLElement>) => {
    pressed.current = false;
    const found = entryAt(event.target);
    if (event.button !== 0 || event.pointerType === "touch" || !found) return;
    const { entry, index } = found;
    const held = { range: event.shiftKey, keep: event.ctrlKey || event.metaKey };
    const onBox = (event.target as Element).closest("[data-box]") !== null;
    // what is chosen stays so until the button is up again: it may be dragged
    if (!onBox && (held.range || held.keep || !selection.chosen.has(entry.name))) {
      select((before) => pick(rows, before, index, held));
      pressed.current = true;
    }
    if (!onBox && !held.range && !held.keep) actions.grab(event, entry);
  };

  const onClick = (event: MouseEvent) => {
    const found = entryAt(event.target);
    if (!found) {
      if (!(event.target as Element).closest("button")) select(none);
      return;
    }
    const { entry, index } = found;
    const touch = (event.nativeEvent as globalThis.PointerEvent).pointerType === "touch";
    if ((event.target as Element).closest("[data-box]")) select((before) => toggle(before, entry.name));
    else if (touch && entry.kind === "folder") actions.open(entry);
    else if (touch) select((before) => toggle(before, entry.name));
    else if (!pressed.current) select((before) => pick(rows, before, index, {}));
    pressed.current = false;
  };

  const hover = useRef<ReturnType<typeof setTimeout>>(undefined);
  const rest = (entry: Entry | null) => {
    clearTimeout(hover.current);
    hover.current = setTimeout(() => actions.rest(entry), HOVER_MS);
  };
  useEffect(() => () => clearTimeout(hover.current), []);
  const hovered = useRef<Entry | null>(null);

  const items = virtual.getVirtualItems();
  const [first, last] = ahead(virtual.range, entries.length);
  const pool = Math.ceil((virtual.scrollRect?.height ?? 0) / ROW_PX) + 2 * AHEAD + 2;
  const [folder, link] = [t("kind.folder"), t("kind.link")];
  const allChosen = chosenCount > 0 && chosenCount === entries.length;
  return (
    <div
      ref={grid}
      role="grid"
      tabIndex={0}
      className={styles.grid}
      aria-label={label}
      aria-multiselectable="true"
      aria-rowcount={isLoading ? -1 : entries.length + 1}
      aria-busy={isLoading || isOld}
      aria-activedescendant={focused < 0 ? undefined : `${id}-${focused}`}
      data-old={isOld || undefined}
      onKeyDown={onKeyDown}
      onPointerDown={onPointerDown}
      onClick={onClick}
      onDoubleClick={(event) => {
        const found = entryAt(event.target);
        if (found && !(event.target as Element).closest("[data-box]")) actions.open(found.entry);
      }}
      onContextMenu={(event) => {
        event.preventDefault();
        const found = entryAt(event.target);
        if (found && !selection.chosen.has(found.entry.name)) {
          select((before) => pick(rows, before, found.index, {}));
        }
        actions.menu({ x: event.clientX, y: event.clientY });
      }}
      onPointerOver={(event) => {
        const entry = entryAt(event.target)?.entry ?? null;
        if (entry !== hovered.current) {
          hovered.current = entry;
          rest(entry);
        }
      }}
    >
      <div role="rowgroup" className={styles.head}>
        <div role="row" aria-rowindex={1} className={styles.headRow}>
          {(["name", "size", "modified"] as const).map((column) => (
            <div
              key={column}
              role="columnheader"
              aria-sort={sort.column !== column ? "none" : sort.descending ? "descending" : "ascending"}
              className={styles[column]}
            >
              {column === "name" && (
                <button
                  type="button"
                  tabIndex={-1}
                  className={styles.boxButton}
                  aria-label={t("grid.all")}
                  onClick={() => select(allChosen ? none : (before) => all(rows, before))}
                >
                  <Box state={allChosen ? "yes" : chosenCount > 0 ? "some" : "no"} />
                </button>
              )}
              <button
                type="button"
                tabIndex={-1}
                className={styles.sortButton}
                onClick={() =>
                  onSort({
                    column,
                    descending: sort.column === column ? !sort.descending : column !== "name",
                  })
                }
              >
                {t(`column.${column}`)}
                {sort.column === column &&
                  (sort.descending ? (
                    <ArrowDown size={14} aria-hidden="true" />
                  ) : (
                    <ArrowUp size={14} aria-hidden="true" />
                  ))}
              </button>
            </div>
          ))}
        </div>
      </div>
      <div role="rowgroup" className={styles.body} style={{ height: virtual.getTotalSize() }}>
        {items.map(({ index, start }) => {
          const entry = entries[index];
          return (
            entry && (
              <Row
                // rows that leave at one end come back at the other: nothing is made anew while one scrolls
                key={index === focused && !(index >= first && index <= last) ? "focused" : index % pool}
                id={`${id}-${index}`}
                entry={entry}
                index={index}
                top={start - HEAD_PX}
                isChosen={selection.chosen.has(entry.name)}
                isFocused={index === focused}
                said={entry.kind === "folder" ? folder : entry.isLink ? link : ""}
              />
            )
          );
        })}
      </div>
      {isLoading && <Skeletons />}
    </div>
  );
}

/** The rows that are there because of where one has scrolled to. */
function ahead(range: { startIndex: number; endIndex: number } | null, count: number): [number, number] {
  if (!range) return [0, count - 1];
  return [Math.max(0, range.startIndex - AHEAD), Math.min(count - 1, range.endIndex + AHEAD)];
}

type Keys = [key: string, act: () => unknown][];

/** The action of a key: `^` is control or command. */
function keyed(event: KeyboardEvent, command: boolean, keys: Keys): (() => unknown) | undefined {
  const actions = new Map(keys);
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const isNamed = key.length > 1;
  if (command) return actions.get(`^${key}`) ?? (isNamed ? actions.get(key) : undefined);
  if (event.altKey) return actions.get(`Alt+${key}`);
  if (!isNamed) return undefined;
  return (event.shiftKey ? actions.get(`Shift+${key}`) : undefined) ?? actions.get(key);
}

const Row = memo(function Row({
  id,
  entry,
  index,
  top,
  isChosen,
  isFocused,
  said,
}: {
  id: string;
  entry: Entry;
  index: number;
  top: number;
  isChosen: boolean;
  isFocused: boolean;
  /** What its picture says, for who does not see it. */
  said: string;
}) {
  return (
    <div
      role="row"
      id={id}
      aria-rowindex={index + 2}
      aria-selected={isChosen}
      className={isFocused ? `${styles.row} ${styles.focused}` : styles.row}
      data-index={index}
      data-folder={entry.kind === "folder" ? entry.name : undefined}
      style={{ transform: `translateY(${top}px)`, height: ROW_PX }}
    >
      <div role="gridcell" className={styles.name}>
        <span className={styles.boxPlace} data-box="" />
        <svg viewBox="0 0 24 24" className={styles.icon} aria-hidden="true">
          <path d={pictureOf(entry)} />
        </svg>
        <bdi className={styles.text} title={entry.name}>
          {entry.name}
        </bdi>
        <span className={hidden.unseen}>{said}</span>
      </div>
      <div role="gridcell" className={styles.size}>
        {entry.kind === "file" ? bytes(entry.size) : ""}
      </div>
      <div role="gridcell" className={styles.modified} title={entry.modified ?? undefined}>
        {entry.modified ? shortTime(entry.modified, NOW) : ""}
      </div>
    </div>
  );
});

function Box({ state }: { state: "yes" | "some" | "no" }) {
  return (
    <svg viewBox="0 0 16 16" className={styles.box} data-state={state} aria-hidden="true">
      <rect x="0.75" y="0.75" width="14.5" height="14.5" rx="3.5" />
      {state === "yes" && <path d="M4 8.3l2.7 2.7L12 5.5" />}
      {state === "some" && <path d="M4.5 8h7" />}
    </svg>
  );
}

function Skeletons() {
  const [widths] = useState(() =>
    Array.from({ length: SKELETON_ROWS }, (_, index) => `${35 + ((index * 37) % 40)}%`),
  );
  return (
    <div className={styles.skeletons} aria-hidden="true">
      {widths.map((width, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: they are all the same
        <div key={index} className={styles.skeleton} style={{ height: ROW_PX }}>
          <Skeleton width={width} height="0.7em" />
        </div>
      ))}
    </div>
  );
}
