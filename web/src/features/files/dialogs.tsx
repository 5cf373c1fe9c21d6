/** The small questions: a name, a deletion, the keys. */

import { type ReactNode, useState } from "react";
import { Form, Link } from "react-aria-components";
import { useTranslation } from "react-i18next";
import { ApiProblem } from "@/api/client";
import styles from "@/features/files/dialogs.module.css";
import { type Entry, sumOf } from "@/features/files/listing";
import { HOME, inside, nameOf, wrongName } from "@/features/files/paths";
import { useAddBookmark, useDelete, useMakeFolder, useRename } from "@/features/files/queries";
import type { Pane } from "@/features/files/usePane";
import { Button } from "@/ui/Button";
import { ConfirmDialog, Dialog } from "@/ui/Dialog";
import { TextField } from "@/ui/Field";
import { bytes, count } from "@/ui/format";
import { Problem } from "@/ui/Problem";
import { say } from "@/ui/Toast";

/** A deletion names so many; the rest is counted. */
const NAMED = 8;

function NameDialog({
  title,
  label,
  initial,
  confirm,
  taken,
  isBusy,
  error,
  children,
  onName,
  onClose,
}: {
  title: string;
  label: string;
  initial: string;
  confirm: string;
  /** Names that are there already. */
  taken: (name: string) => boolean;
  isBusy: boolean;
  error: Error | null;
  children?: ReactNode;
  onName: (name: string) => void;
  onClose: () => void;
}) {
  const { t } = useTranslation("files");
  const [name, setName] = useState(initial);
  const wrong = wrongName(name);
  const said =
    wrong !== null && wrong !== "empty"
      ? t(`name.${wrong}`)
      : name !== initial && taken(name)
        ? t("name.taken")
        : undefined;
  const isReady = wrong === null && said === undefined && name !== initial;
  return (
    <Dialog
      title={title}
      isOpen
      onClose={onClose}
      actions={
        <>
          <Button onPress={onClose}>{t("cancel")}</Button>
          <Button variant="primary" isPending={isBusy} isDisabled={!isReady} onPress={() => onName(name)}>
            {confirm}
          </Button>
        </>
      }
    >
      <Form
        className={styles.form ?? ""}
        onSubmit={(event) => {
          event.preventDefault();
          if (isReady && !isBusy) onName(name);
        }}
      >
        {error && <Problem title={t("name.failed")} error={error} />}
        <TextField
          label={label}
          value={name}
          onChange={setName}
          error={said}
          autoFocus
          onFocus={(event) => {
            // the ending is seldom what is to change
            const input = event.target as HTMLInputElement;
            const ending = initial.lastIndexOf(".");
            input.setSelectionRange(0, ending > 0 ? ending : initial.length);
          }}
        />
        {children}
      </Form>
    </Dialog>
  );
}

export function NewFolderDialog({ pane, onClose }: { pane: Pane; onClose: () => void }) {
  const { t } = useTranslation("files");
  const { mutate, isPending, error } = useMakeFolder(pane.endpointId ?? "");
  const path = pane.path ?? HOME;
  return (
    <NameDialog
      title={t("newFolder.title")}
      label={t("newFolder.label")}
      initial=""
      confirm={t("newFolder.confirm")}
      taken={(name) => pane.rows.indexOf(name) >= 0}
      isBusy={isPending}
      error={error}
      onClose={onClose}
      onName={(name) =>
        mutate(inside(path, name), {
          onSuccess: () => {
            pane.select({ chosen: new Set([name]), anchor: name, focus: name });
            onClose();
          },
        })
      }
    >
      <Where pane={pane} />
    </NameDialog>
  );
}

export function RenameDialog({ pane, entry, onClose }: { pane: Pane; entry: Entry; onClose: () => void }) {
  const { t } = useTranslation("files");
  const { mutate, isPending, error } = useRename(pane.endpointId ?? "");
  const path = pane.path ?? HOME;
  return (
    <NameDialog
      title={t("rename.title", { name: entry.name })}
      label={t("rename.label")}
      initial={entry.name}
      confirm={t("rename.confirm")}
      taken={(name) => pane.rows.indexOf(name) >= 0}
      isBusy={isPending}
      error={error}
      onClose={onClose}
      onName={(name) =>
        mutate(
          { from: inside(path, entry.name), to: inside(path, name) },
          {
            onSuccess: () => {
              pane.select({ chosen: new Set([name]), anchor: name, focus: name });
              onClose();
            },
          },
        )
      }
    >
      <Where pane={pane} />
    </NameDialog>
  );
}

export function BookmarkDialog({ pane, path, onClose }: { pane: Pane; path: string; onClose: () => void }) {
  const { t } = useTranslation("files");
  const { mutate, isPending, error } = useAddBookmark();
  const [name, setName] = useState(() =>
    path === HOME || path === "/" ? pane.name : `${nameOf(path)} (${pane.name})`,
  );
  const send = () =>
    mutate(
      { name: name.trim(), endpoint_id: pane.endpointId ?? "", path },
      {
        onSuccess: () => {
          say({ title: t("bookmark.done"), text: t("bookmark.found") });
          onClose();
        },
      },
    );
  return (
    <Dialog
      title={t("bookmark.title")}
      isOpen
      onClose={onClose}
      actions={
        <>
          <Button onPress={onClose}>{t("cancel")}</Button>
          <Button variant="primary" isPending={isPending} isDisabled={name.trim() === ""} onPress={send}>
            {t("bookmark.confirm")}
          </Button>
        </>
      }
    >
      <Form
        className={styles.form ?? ""}
        onSubmit={(event) => {
          event.preventDefault();
          if (name.trim() !== "" && !isPending) send();
        }}
      >
        {error && (
          <Problem
            title={t(
              error instanceof ApiProblem && error.status === 409 ? "bookmark.taken" : "bookmark.failed",
            )}
            error={error}
          />
        )}
        <TextField label={t("bookmark.name")} value={name} onChange={setName} autoFocus />
        <Where pane={pane} path={path} />
      </Form>
    </Dialog>
  );
}

function Where({ pane, path = pane.path ?? "" }: { pane: Pane; path?: string }) {
  const { t } = useTranslation("files");
  return (
    <p className={styles.where}>
      {t("where", { name: pane.name })} <code>{path}</code>
    </p>
  );
}

/** Says what goes: names, how many, how much, where. */
export function DeleteDialog({
  pane,
  entries,
  onClose,
}: {
  pane: Pane;
  entries: Entry[];
  onClose: () => void;
}) {
  const { t } = useTranslation("files");
  const { mutate, isPending, error } = useDelete();
  const [submissionId] = useState(() => crypto.randomUUID());
  const sum = sumOf(entries);
  const path = pane.path ?? HOME;
  const parts = [
    sum.folders > 0 && t("remove.folders", { count: sum.folders, amount: count(sum.folders) }),
    sum.files > 0 &&
      t("remove.files", { count: sum.files, amount: count(sum.files), size: bytes(sum.bytes) }),
  ].filter((one) => one !== false);
  const total = { count: entries.length, amount: count(entries.length), name: entries[0]?.name ?? "" };
  return (
    <ConfirmDialog
      title={entries.length === 1 ? t("remove.titleOne", total) : t("remove.title", total)}
      confirm={entries.length === 1 ? t("remove.confirmOne") : t("remove.confirm", total)}
      isOpen
      isBusy={isPending}
      onClose={onClose}
      onConfirm={() =>
        mutate(
          {
            DATA_TYPE: "delete",
            submission_id: submissionId,
            endpoint: pane.endpointId ?? "",
            recursive: sum.folders > 0,
            DATA: entries.map((one) => ({ DATA_TYPE: "delete_item", path: inside(path, one.name) })),
          },
          {
            onSuccess: (accepted) => {
              say({
                title: t("remove.begun"),
                text: <Link href={`/activity/${accepted.task_id}`}>{t("toast.follow")}</Link>,
              });
              pane.select((before) => ({ ...before, chosen: new Set() }));
              onClose();
            },
          },
        )
      }
    >
      {error && <Problem title={t("remove.failed")} error={error} />}
      <p>
        {parts.join(t("and"))} {t("remove.from", { name: pane.name })} <code>{path}</code>
      </p>
      <ul className={styles.names}>
        {entries.slice(0, NAMED).map((one) => (
          <li key={one.name}>
            <bdi>
              {one.name}
              {one.kind === "folder" && "/"}
            </bdi>
            <span>{one.kind === "folder" ? t("remove.withAll") : bytes(one.size)}</span>
          </li>
        ))}
        {entries.length > NAMED && (
          <li>
            {t("remove.more", { count: entries.length - NAMED, amount: count(entries.length - NAMED) })}
          </li>
        )}
      </ul>
      <p className={styles.never}>{t("remove.never")}</p>
    </ConfirmDialog>
  );
}

const KEYS = [
  ["↑ ↓", "move"],
  ["Shift ↑ ↓", "range"],
  ["Space", "toggle"],
  ["Ctrl A", "all"],
  ["Enter", "open"],
  ["Backspace", "up"],
  ["← →", "across"],
  ["Ctrl Enter", "transfer"],
  ["Ctrl C, Ctrl V", "copy"],
  ["Ctrl L", "path"],
  ["Ctrl F", "filter"],
  ["F2", "rename"],
  ["Delete", "delete"],
  ["Shift F10", "menu"],
] as const;

export function KeysDialog({ onClose }: { onClose: () => void }) {
  const { t } = useTranslation("files");
  return (
    <Dialog title={t("keys.title")} isOpen onClose={onClose}>
      <p>{t("keys.text")}</p>
      <dl className={styles.keys}>
        {KEYS.map(([key, what]) => (
          <div key={what}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{t(`keys.${what}`)}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
