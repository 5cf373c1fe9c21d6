import { useQueryClient } from "@tanstack/react-query";
import {
  Bookmark,
  Check,
  ClipboardCopy,
  Eye,
  EyeOff,
  FolderOpen,
  FolderPlus,
  Keyboard,
  Link2,
  ListChecks,
  MoreHorizontal,
  Pencil,
  Send,
  Trash2,
  X,
} from "lucide-react";
import { type ReactNode, type Ref, useEffect, useImperativeHandle, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { CollectionButton, CollectionList, type Picked } from "@/features/files/Collections";
import { FileGrid, type GridActions, type GridHandle } from "@/features/files/FileGrid";
import { type Column, type Entry, type Listing, sumOf } from "@/features/files/listing";
import { PaneProblem } from "@/features/files/PaneProblem";
import styles from "@/features/files/PaneView.module.css";
import { PathBar } from "@/features/files/PathBar";
import { inside } from "@/features/files/paths";
import { lookAhead, REACH, stopLookingAhead } from "@/features/files/queries";
import { all, move } from "@/features/files/selection";
import type { Pane } from "@/features/files/usePane";
import { IconButton } from "@/ui/Button";
import { EmptyState } from "@/ui/EmptyState";
import { bytes, count } from "@/ui/format";
import { type Choice, Menu, MenuAt } from "@/ui/Menu";

export interface PaneHandle {
  focus(): void;
}

/** What a pane leaves to the page: it concerns the other pane, or asks first. */
export interface PaneActions {
  transfer(): void;
  makeFolder(): void;
  rename(entry: Entry): void;
  remove(entries: Entry[]): void;
  bookmark(path: string): void;
  copy(): void;
  paste(): void;
  across(): void;
  copyLink(path: string): void;
  copyPath(path: string): void;
  keys(): void;
  grab: GridActions["grab"];
}

/** From when on a wait is worth a word; the API's own limit ends it. */
const SLOW_MS = 4_000;
const COLUMNS: Column[] = ["name", "size", "modified"];

export function PaneView({
  pane,
  label,
  otherName,
  actions,
  ref,
}: {
  pane: Pane;
  /** Which of the two it is. */
  label: string;
  otherName: string;
  actions: PaneActions;
  ref: Ref<PaneHandle>;
}) {
  const { t } = useTranslation("files");
  const queries = useQueryClient();
  const grid = useRef<GridHandle>(null);
  const filterField = useRef<HTMLInputElement>(null);
  const [isEditing, setEditing] = useState(false);
  const [menuAt, setMenuAt] = useState<{ x: number; y: number } | null>(null);
  const ahead = useRef<string | null>(null);
  const { listing, rows, selection, chosen, endpointId, path } = pane;
  useImperativeHandle(ref, () => ({ focus: () => grid.current?.focus() }), []);

  const isLoading = endpointId !== null && listing.isPending && listing.isFetching;
  const error = listing.isError && !listing.isFetching ? listing.error : null;
  const isThere = listing.data !== undefined && path !== null;
  const [one] = chosen;
  const single = chosen.length === 1 && one ? one : null;
  const chosenPath = single && path ? inside(path, single.name, single.kind === "folder") : (path ?? "");

  const gridActions: GridActions = {
    open: pane.enter,
    up: pane.up,
    remove: () => chosen.length > 0 && actions.remove(chosen),
    rename: actions.rename,
    copy: actions.copy,
    paste: actions.paste,
    transfer: actions.transfer,
    editPath: () => endpointId !== null && setEditing(true),
    find: () => filterField.current?.focus(),
    across: actions.across,
    menu: setMenuAt,
    grab: actions.grab,
    rest: (entry) => {
      if (endpointId === null || path === null) return;
      if (ahead.current) stopLookingAhead(queries, endpointId, ahead.current);
      ahead.current = entry?.kind === "folder" ? inside(path, entry.name, true) : null;
      if (ahead.current) lookAhead(queries, endpointId, ahead.current);
    },
  };

  const picked = ({ endpointId: id, path: to }: Picked) => {
    pane.choose(id, to);
    requestAnimationFrame(() => grid.current?.focus());
  };

  const onChosen: Choice[] = [
    {
      id: "open",
      label: t("do.open"),
      icon: <FolderOpen size={16} aria-hidden="true" />,
      shortcut: "↵",
      disabled: single?.kind !== "folder",
      onAction: () => single && pane.enter(single),
    },
    {
      id: "transfer",
      label: otherName ? t("do.transferTo", { name: otherName }) : t("do.transfer"),
      icon: <Send size={16} aria-hidden="true" />,
      shortcut: t("key.transfer"),
      disabled: chosen.length === 0 || otherName === "",
      onAction: actions.transfer,
    },
    {
      id: "rename",
      label: t("do.rename"),
      icon: <Pencil size={16} aria-hidden="true" />,
      shortcut: "F2",
      disabled: single === null,
      apart: true,
      onAction: () => single && actions.rename(single),
    },
    {
      id: "delete",
      label: t("do.delete"),
      icon: <Trash2 size={16} aria-hidden="true" />,
      shortcut: t("key.delete"),
      danger: true,
      disabled: chosen.length === 0,
      onAction: () => actions.remove(chosen),
    },
  ];
  const onPlace: Choice[] = [
    {
      id: "path",
      label: t("do.copyPath"),
      icon: <ClipboardCopy size={16} aria-hidden="true" />,
      apart: true,
      onAction: () => actions.copyPath(chosenPath),
    },
    {
      id: "link",
      label: t("do.copyLink"),
      icon: <Link2 size={16} aria-hidden="true" />,
      onAction: () => actions.copyLink(single?.kind === "folder" ? chosenPath : (path ?? "")),
    },
    {
      id: "bookmark",
      label: t("do.bookmark"),
      icon: <Bookmark size={16} aria-hidden="true" />,
      onAction: () => actions.bookmark(single?.kind === "folder" ? chosenPath : (path ?? "")),
    },
  ];
  const check = (holds: boolean) => (holds ? <Check size={16} aria-hidden="true" /> : null);
  const view: Choice[] = [
    ...COLUMNS.map((column, index) => ({
      id: `sort-${column}`,
      label: t(`sort.${column}`),
      icon: check(pane.sort.column === column),
      apart: index === 0,
      onAction: () =>
        pane.setSort({
          column,
          descending: pane.sort.column === column ? !pane.sort.descending : column !== "name",
        }),
    })),
    {
      id: "hidden",
      label: t(pane.hidden ? "do.hideHidden" : "do.showHidden"),
      icon: pane.hidden ? <EyeOff size={16} aria-hidden="true" /> : <Eye size={16} aria-hidden="true" />,
      apart: true,
      onAction: () => pane.setHidden(!pane.hidden),
    },
    {
      id: "all",
      label: t("do.all"),
      icon: <ListChecks size={16} aria-hidden="true" />,
      shortcut: t("key.all"),
      onAction: () => pane.select((before) => all(rows, before)),
    },
    {
      id: "keys",
      label: t("do.keys"),
      icon: <Keyboard size={16} aria-hidden="true" />,
      onAction: actions.keys,
    },
  ];

  return (
    <section className={styles.pane} aria-label={label} data-pane={pane.side}>
      <div className={styles.top}>
        <CollectionButton pane={pane} onPick={picked} />
        <div className={styles.tools}>
          <IconButton label={t("do.newFolder")} isDisabled={!isThere} onPress={actions.makeFolder}>
            <FolderPlus size={18} aria-hidden="true" />
          </IconButton>
          <IconButton
            label={t("do.delete")}
            isDisabled={chosen.length === 0}
            onPress={() => actions.remove(chosen)}
          >
            <Trash2 size={18} aria-hidden="true" />
          </IconButton>
          <Menu
            label={t("do.more")}
            choices={[...onChosen, ...onPlace, ...view]}
            trigger={
              <IconButton label={t("do.more")} isDisabled={!isThere}>
                <MoreHorizontal size={18} aria-hidden="true" />
              </IconButton>
            }
          />
        </div>
      </div>
      <div className={styles.where}>
        <PathBar
          pane={pane}
          isEditing={isEditing}
          onEdit={() => endpointId !== null && setEditing(true)}
          onDone={() => {
            setEditing(false);
            grid.current?.focus();
          }}
        />
        <div className={styles.filter}>
          <input
            ref={filterField}
            className={styles.filterField}
            aria-label={t("filter.label")}
            placeholder={t("filter.placeholder")}
            value={pane.filter}
            disabled={endpointId === null}
            spellCheck={false}
            autoComplete="off"
            onChange={(event) => pane.setFilter(event.target.value)}
            onKeyDown={(event) => {
              if (event.key === "Escape" && pane.filter !== "") pane.setFilter("");
              else if (event.key !== "Enter" && event.key !== "ArrowDown" && event.key !== "Escape") return;
              else {
                pane.select((before) => move(rows, before, Math.max(0, rows.indexOf(before.focus)), {}));
                grid.current?.focus();
              }
              event.preventDefault();
            }}
          />
          {pane.filter !== "" && (
            <button
              type="button"
              className={styles.clear}
              aria-label={t("filter.clear")}
              onClick={() => {
                pane.setFilter("");
                filterField.current?.focus();
              }}
            >
              <X size={14} aria-hidden="true" />
            </button>
          )}
        </div>
      </div>
      <div className={styles.list}>
        {endpointId === null ? (
          <div className={styles.start}>
            <h2>{t("start.title")}</h2>
            <p>{t("start.text")}</p>
            <div className={styles.startList}>
              <CollectionList onPick={picked} whose={label} />
            </div>
          </div>
        ) : (
          <>
            <FileGrid
              ref={grid}
              label={t("grid.label", { path: path ?? "", name: pane.name })}
              rows={rows}
              selection={selection}
              chosenCount={chosen.length}
              select={pane.select}
              sort={pane.sort}
              onSort={pane.setSort}
              isLoading={isLoading}
              isOld={listing.isFetching && listing.data?.complete === true}
              actions={gridActions}
            />
            {error && <PaneProblem pane={pane} error={error} isCovering={!listing.data} />}
            {!error && !isLoading && rows.entries.length === 0 && listing.data && (
              <Nothing listing={listing.data} pane={pane} />
            )}
          </>
        )}
      </div>
      <Foot pane={pane} isLoading={isLoading} />
      <MenuAt
        at={menuAt}
        onClose={() => setMenuAt(null)}
        label={t("do.more")}
        choices={[...onChosen, ...onPlace]}
      />
    </section>
  );
}

/** A folder with nothing to show, and why. */
function Nothing({ listing, pane }: { listing: Listing; pane: Pane }) {
  const { t } = useTranslation("files");
  const isEmpty = listing.entries.length === 0;
  let text: ReactNode = t("empty.text");
  if (!isEmpty) {
    text = pane.filter ? t("empty.filtered", { filter: pane.filter }) : t("empty.hidden");
  }
  return (
    <div className={styles.over}>
      <EmptyState title={t(isEmpty ? "empty.title" : "empty.noMatch")}>{text}</EmptyState>
    </div>
  );
}

function Foot({ pane, isLoading }: { pane: Pane; isLoading: boolean }) {
  const { t } = useTranslation("files");
  const isSlow = useSlow(isLoading);
  const { listing, rows, chosen } = pane;
  const sum = sumOf(chosen);
  const found = listing.data;
  let said = isSlow ? t("foot.slow") : "";
  if (found && !found.complete) {
    said = t("foot.loading", { loaded: count(found.entries.length), total: count(found.total) });
  } else if (found) {
    const total = rows.entries.length;
    said =
      total === found.entries.length
        ? t("foot.items", { count: total, amount: count(total) })
        : t("foot.shown", { amount: count(total), total: count(found.entries.length) });
    if (found.total > REACH) said = t("foot.reach", { reach: count(REACH), total: count(found.total) });
  }
  return (
    <div className={styles.foot}>
      <span role="status">{said}</span>
      {chosen.length > 0 && (
        <strong>
          {t("foot.chosen", { count: chosen.length, amount: count(chosen.length) })}
          {sum.files > 0 && ` · ${bytes(sum.bytes)}`}
          {sum.folders > 0 && ` · ${t("folders", { count: sum.folders, amount: count(sum.folders) })}`}
        </strong>
      )}
    </div>
  );
}

/** Whether it has been so for a while. */
function useSlow(isLoading: boolean): boolean {
  const [isSlow, setSlow] = useState(false);
  useEffect(() => {
    setSlow(false);
    if (!isLoading) return;
    const timer = setTimeout(() => setSlow(true), SLOW_MS);
    return () => clearTimeout(timer);
  }, [isLoading]);
  return isSlow;
}
