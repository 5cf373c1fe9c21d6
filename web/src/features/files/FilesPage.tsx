import { useQueryClient } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { ArrowLeft, ArrowRight, Columns2, FolderSync, Square } from "lucide-react";
import { type PointerEvent, useRef, useState } from "react";
import { Group } from "react-aria-components";
import { useTranslation } from "react-i18next";
import {
  BookmarkDialog,
  DeleteDialog,
  KeysDialog,
  NewFolderDialog,
  RenameDialog,
} from "@/features/files/dialogs";
import { type Drop, drag } from "@/features/files/drag";
import styles from "@/features/files/FilesPage.module.css";
import type { Entry } from "@/features/files/listing";
import { type Job, meetingOf, overlaps, type Spot } from "@/features/files/options";
import { type PaneActions, type PaneHandle, PaneView } from "@/features/files/PaneView";
import { inside } from "@/features/files/paths";
import { linkTo, OTHER, type Side } from "@/features/files/search";
import { TasksHere } from "@/features/files/TasksHere";
import { TransferDialog } from "@/features/files/TransferDialog";
import { type Pane, usePane } from "@/features/files/usePane";
import { Button, IconButton } from "@/ui/Button";
import { classes } from "@/ui/classes";
import { count } from "@/ui/format";
import { say } from "@/ui/Toast";
import hidden from "@/ui/unseen.module.css";

type Asked =
  | { what: "transfer"; job: Job; isSync: false }
  | { what: "sync"; from: Side }
  | { what: "newFolder" | "keys"; side: Side }
  | { what: "rename"; side: Side; entry: Entry }
  | { what: "delete"; side: Side; entries: Entry[] }
  | { what: "bookmark"; side: Side; path: string };

interface Copied {
  from: Spot;
  entries: Entry[];
}

/** Two places side by side, and what is moved between them. */
export function FilesPage() {
  const { t } = useTranslation("files");
  const search = useSearch({ from: "/inside/files" });
  const navigate = useNavigate({ from: "/files" });
  const queries = useQueryClient();
  const panes: Record<Side, Pane> = { origin: usePane("origin"), destination: usePane("destination") };
  const handles = { origin: useRef<PaneHandle>(null), destination: useRef<PaneHandle>(null) };
  const [asked, setAsked] = useState<Asked | null>(null);
  const [copied, setCopied] = useState<Copied | null>(null);
  const [showing, setShowing] = useState<Side>("origin");
  const isSingle = search.two_pane === false;

  const spotOf = (side: Side): Spot | null => {
    const { endpointId, path, name } = panes[side];
    return endpointId === null || path === null ? null : { endpointId, path, name };
  };

  const close = (side: Side) => {
    setAsked(null);
    // where the keyboard was before the question
    requestAnimationFrame(() => handles[side].current?.focus());
  };

  const askTransfer = (from: Spot | null, to: Spot | null, entries: Entry[]) => {
    if (!from || !to || entries.length === 0) {
      say({ title: t(entries.length === 0 ? "hint.choose" : "hint.other"), kind: "good" });
      return;
    }
    const job = { from, to, entries };
    if (overlaps(job)) say({ title: t("hint.overlap"), kind: "error" });
    else setAsked({ what: "transfer", job, isSync: false });
  };

  const transfer = (from: Side) => askTransfer(spotOf(from), spotOf(OTHER[from]), panes[from].chosen);

  const copyText = async (text: string) => {
    try {
      await navigator.clipboard.writeText(text);
      say({ title: t("copied"), text });
    } catch {
      // the browser does not let us: then by hand
      say({ title: t("notCopied"), text, kind: "error" });
    }
  };

  const actionsOf = (side: Side): PaneActions => ({
    transfer: () => transfer(side),
    makeFolder: () => setAsked({ what: "newFolder", side }),
    rename: (entry) => setAsked({ what: "rename", side, entry }),
    remove: (entries) => setAsked({ what: "delete", side, entries }),
    bookmark: (path) => setAsked({ what: "bookmark", side, path }),
    keys: () => setAsked({ what: "keys", side }),
    copy: () => {
      const from = spotOf(side);
      const entries = panes[side].chosen;
      if (!from || entries.length === 0) return;
      setCopied({ from, entries });
      say({ title: t("clipboard", { count: entries.length, amount: count(entries.length) }) });
    },
    paste: () => copied && askTransfer(copied.from, spotOf(side), copied.entries),
    across: () => handles[OTHER[side]].current?.focus(),
    copyPath: (path) => void copyText(path),
    copyLink: (path) => void copyText(location.origin + linkTo(panes[side].endpointId ?? "", path)),
    grab: (event, entry) => grab(side, event, entry),
  });

  const grab = (side: Side, event: PointerEvent<HTMLElement>, entry: Entry) => {
    const from = spotOf(side);
    if (!from) return;
    const pane = panes[side];
    const entries = pane.selection.chosen.has(entry.name) ? pane.chosen : [entry];
    const target = (drop: Drop): Spot | null => {
      const spot = spotOf(drop.side);
      if (!spot || drop.folder === null) return spot;
      return { ...spot, path: inside(spot.path, drop.folder, true) };
    };
    drag(
      event.nativeEvent,
      () =>
        entries.length === 1
          ? entry.name
          : t("items", { count: entries.length, amount: count(entries.length) }),
      (drop) => {
        const to = target(drop);
        return to !== null && !overlaps({ from, to, entries });
      },
      (drop) => askTransfer(from, target(drop), entries),
    );
  };

  const endpointIds = [panes.origin.endpointId, panes.destination.endpointId].filter((one) => one !== null);
  const setTwo = (two: boolean) =>
    void navigate({ search: (before) => ({ ...before, two_pane: two ? undefined : false }), replace: true });

  return (
    <div className={styles.page}>
      <h1 className={hidden.unseen}>{t("title")}</h1>
      <Group className={styles.switch ?? ""} aria-label={t("switch.label")}>
        {(["origin", "destination"] as const).map((side) => (
          <button key={side} type="button" aria-pressed={showing === side} onClick={() => setShowing(side)}>
            <span>{t(side === "origin" ? "from" : "to")}</span>
            <bdi>{panes[side].name || t("collection.choose")}</bdi>
          </button>
        ))}
      </Group>
      <div className={classes(styles.panes, isSingle && styles.single)} data-showing={showing}>
        <PaneView
          pane={panes.origin}
          label={t("from")}
          otherName={panes.destination.name}
          actions={actionsOf("origin")}
          ref={handles.origin}
        />
        {!isSingle && (
          <>
            <Between
              panes={panes}
              showing={showing}
              onTransfer={transfer}
              onSync={(from) => setAsked({ what: "sync", from })}
            />
            <PaneView
              pane={panes.destination}
              label={t("to")}
              otherName={panes.origin.name}
              actions={actionsOf("destination")}
              ref={handles.destination}
            />
          </>
        )}
      </div>
      <div className={styles.foot}>
        <TasksHere endpointIds={endpointIds} />
        <span className={styles.toggle}>
          <IconButton label={t(isSingle ? "panes.two" : "panes.one")} onPress={() => setTwo(isSingle)}>
            {isSingle ? <Columns2 size={18} aria-hidden="true" /> : <Square size={18} aria-hidden="true" />}
          </IconButton>
        </span>
      </div>
      {asked && question()}
    </div>
  );

  function question() {
    if (asked === null) return null;
    switch (asked.what) {
      case "newFolder":
        return <NewFolderDialog pane={panes[asked.side]} onClose={() => close(asked.side)} />;
      case "keys":
        return <KeysDialog onClose={() => close(asked.side)} />;
      case "rename":
        return (
          <RenameDialog pane={panes[asked.side]} entry={asked.entry} onClose={() => close(asked.side)} />
        );
      case "delete":
        return (
          <DeleteDialog pane={panes[asked.side]} entries={asked.entries} onClose={() => close(asked.side)} />
        );
      case "bookmark":
        return (
          <BookmarkDialog pane={panes[asked.side]} path={asked.path} onClose={() => close(asked.side)} />
        );
      case "transfer":
        return transferDialog(asked.job, sideOf(asked.job.from), false);
      case "sync": {
        const from = spotOf(asked.from);
        const to = spotOf(OTHER[asked.from]);
        return from && to && transferDialog({ from, to, entries: null }, asked.from, true);
      }
    }
  }

  function sideOf(spot: Spot): Side {
    const { endpointId, path } = panes.destination;
    return spot.endpointId === endpointId && spot.path === path ? "destination" : "origin";
  }

  function transferDialog(job: Job, from: Side, isSync: boolean) {
    const listed = (spot: Spot) => {
      const pane = [panes.origin, panes.destination].find(
        (one) => one.endpointId === spot.endpointId && one.path === spot.path,
      );
      const listing = pane?.listing.data;
      return listing?.complete ? listing.entries : null;
    };
    return (
      <TransferDialog
        key={from}
        job={job}
        isSync={isSync}
        meeting={meetingOf(job, listed(job.from), listed(job.to))}
        onSwap={isSync ? () => setAsked({ what: "sync", from: OTHER[from] }) : undefined}
        onClose={() => close(from)}
        onDone={() => {
          close(from);
          void queries.invalidateQueries({ queryKey: ["files", "tasks"] });
        }}
      />
    );
  }
}

/** The ways between the panes. */
function Between({
  panes,
  showing,
  onTransfer,
  onSync,
}: {
  panes: Record<Side, Pane>;
  showing: Side;
  onTransfer: (from: Side) => void;
  onSync: (from: Side) => void;
}) {
  const { t } = useTranslation("files");
  const isReady = (side: Side) => panes[side].path !== null && panes[side].endpointId !== null;
  const both = isReady("origin") && isReady("destination");
  const button = (from: Side) => {
    const number = panes[from].chosen.length;
    const said = { count: number, amount: count(number), name: panes[OTHER[from]].name };
    return (
      <Button
        key={from}
        variant={number > 0 ? "primary" : "normal"}
        isDisabled={!both || number === 0}
        onPress={() => onTransfer(from)}
        className={classes(styles.move, showing !== from && styles.otherWay)}
        aria-label={t(number > 0 ? "move.to" : "move.toNone", said)}
      >
        {from === "destination" && <ArrowLeft size={18} aria-hidden="true" className={styles.way} />}
        <span>
          {t("move.transfer")}
          {number > 0 && <span className={styles.number}>{count(number)}</span>}
        </span>
        {from === "origin" && <ArrowRight size={18} aria-hidden="true" className={styles.way} />}
      </Button>
    );
  };
  return (
    <Group className={styles.between ?? ""} aria-label={t("move.label")}>
      {button("origin")}
      {button("destination")}
      <Button className={styles.move} isDisabled={!both} onPress={() => onSync(showing)}>
        <FolderSync size={18} aria-hidden="true" />
        <span>{t("move.sync")}</span>
      </Button>
      <p className={styles.hint}>{t(both ? "move.hint" : "move.hintOther")}</p>
    </Group>
  );
}
