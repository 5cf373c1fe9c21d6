import { useNavigate } from "@tanstack/react-router";
import { Ban, ChevronDown, Copy, FolderOpen, Pause, Pencil, Play, RotateCcw } from "lucide-react";
import { useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { isFinished, type LiveTask } from "@/api/taskMerge";
import type { useTaskActions } from "@/api/tasks";
import { directoryOf } from "@/features/activity/state";
import styles from "@/features/activity/TaskActions.module.css";
import { Button } from "@/ui/Button";
import { ConfirmDialog, Dialog } from "@/ui/Dialog";
import { TextField } from "@/ui/Field";
import { Menu } from "@/ui/Menu";
import { problemText } from "@/ui/Problem";
import { say } from "@/ui/Toast";

type Actions = ReturnType<typeof useTaskActions>;
type Answer = { code: string };

/** What can be asked of the task. What cannot be is not offered. */
export function TaskActions({
  task,
  actions,
  cancelling,
}: {
  task: LiveTask;
  actions: Actions;
  cancelling: boolean;
}) {
  const { t } = useTranslation("activity");
  const { t: common } = useTranslation();
  const navigate = useNavigate();
  const [open, setOpen] = useState<"cancel" | "edit" | null>(null);
  // asked again after a lost answer, it is still the same request
  const submission = useRef<string>(undefined);
  const finished = isFinished(task);
  const failed = (error: Error) =>
    say({ kind: "error", title: t("action.failed"), text: problemText(error, common("error.unreachable")) });
  // how the task does then is what the page shows
  const asked = {
    onSuccess: ({ code }: Answer) => {
      if (code === "TaskComplete") say({ title: t("action.complete") });
    },
    onError: failed,
  };

  function toggle() {
    const action = task.is_paused ? actions.resume : actions.pause;
    action.mutate(undefined, asked);
  }

  function again() {
    submission.current ??= crypto.randomUUID();
    actions.runAgain.mutate(submission.current, {
      onSuccess: ({ task_id: taskId }) => {
        submission.current = undefined;
        say({ title: t("action.startedAgain") });
        void navigate({ to: "/activity/$taskId", params: { taskId } });
      },
      onError: failed,
    });
  }

  function cancel() {
    setOpen(null);
    actions.cancel.mutate(undefined, asked);
  }

  const link = fileManagerSearch(task);
  return (
    <div className={styles.actions}>
      {!finished && task.nice_status !== "PAUSED_BY_ADMIN" && (
        <Button onPress={toggle} isPending={actions.pause.isPending || actions.resume.isPending}>
          {task.is_paused ? <Play size={16} aria-hidden="true" /> : <Pause size={16} aria-hidden="true" />}
          {task.is_paused ? t("action.resume") : t("action.pause")}
        </Button>
      )}
      {finished && (
        <Button variant="primary" onPress={again} isPending={actions.runAgain.isPending}>
          <RotateCcw size={16} aria-hidden="true" />
          {t("action.again")}
        </Button>
      )}
      {!finished && (
        <Button variant="danger" onPress={() => setOpen("cancel")} isDisabled={cancelling}>
          <Ban size={16} aria-hidden="true" />
          {t("action.cancel")}
        </Button>
      )}
      <Menu
        trigger={
          <Button>
            {t("action.more")}
            <ChevronDown size={16} aria-hidden="true" />
          </Button>
        }
        label={t("action.more")}
        choices={[
          ...(finished
            ? []
            : [
                {
                  id: "edit",
                  label: t("action.edit"),
                  icon: <Pencil size={16} aria-hidden="true" />,
                  onAction: () => setOpen("edit"),
                },
                {
                  id: "again",
                  label: t("action.again"),
                  icon: <RotateCcw size={16} aria-hidden="true" />,
                  onAction: again,
                },
              ]),
          ...(link
            ? [
                {
                  id: "open",
                  label: t("task.open"),
                  icon: <FolderOpen size={16} aria-hidden="true" />,
                  onAction: () => void navigate({ to: "/files", search: link }),
                },
              ]
            : []),
          {
            id: "link",
            label: t("action.copyLink"),
            icon: <Copy size={16} aria-hidden="true" />,
            onAction: () =>
              void navigator.clipboard
                .writeText(location.origin + location.pathname)
                .then(() => say({ title: t("action.linkCopied") }), failed),
          },
        ]}
      />
      <ConfirmDialog
        title={t("cancelDialog.title")}
        isOpen={open === "cancel"}
        onClose={() => setOpen(null)}
        keep={t(task.is_paused ? "cancelDialog.keepPaused" : "cancelDialog.keep")}
        confirm={t("cancelDialog.confirm")}
        onConfirm={cancel}
      >
        <WhatStays task={task} />
      </ConfirmDialog>
      {open === "edit" && (
        <Edit
          task={task}
          isBusy={actions.change.isPending}
          onClose={() => setOpen(null)}
          onSave={(change) =>
            actions.change.mutate(change, {
              onSuccess: () => {
                setOpen(null);
                say({ title: t("action.saved") });
              },
              onError: failed,
            })
          }
        />
      )}
    </div>
  );
}

function WhatStays({ task }: { task: LiveTask }) {
  const { t } = useTranslation("activity");
  if (task.type === "DELETE")
    return (
      <>
        <p>{t("cancelDialog.delete", { count: task.files })}</p>
        <p>{t("cancelDialog.deleteRest")}</p>
      </>
    );
  const arrived = task.files_transferred ?? 0;
  return (
    <>
      <p>{arrived > 0 ? t("cancelDialog.transfer", { count: arrived }) : t("cancelDialog.transferNone")}</p>
      <p>{t("cancelDialog.transferRest")}</p>
      <p>{t("cancelDialog.final")}</p>
    </>
  );
}

/** As the API's `Label`. */
const LONGEST_LABEL = 128;

function Edit({
  task,
  isBusy,
  onClose,
  onSave,
}: {
  task: LiveTask;
  isBusy: boolean;
  onClose: () => void;
  onSave: (change: { label: string | null; deadline?: string }) => void;
}) {
  const { t } = useTranslation("activity");
  const { t: common } = useTranslation();
  const before = localMinute(task.deadline);
  const [label, setLabel] = useState(task.label ?? "");
  const [deadline, setDeadline] = useState(before);
  const tooLong = label.length > LONGEST_LABEL;
  const past = deadline !== before && new Date(deadline).getTime() <= Date.now();
  const save = () => {
    if (tooLong || past || !deadline) return;
    const text = label.trim() || null;
    // a deadline that is given stays: one that was not touched is not given
    onSave(
      deadline === before
        ? { label: text }
        : { label: text, deadline: new Date(deadline).toISOString().replace(/\.\d+Z/, "Z") },
    );
  };
  return (
    <Dialog
      title={t("edit.title")}
      isOpen
      onClose={onClose}
      actions={
        <>
          <Button onPress={onClose}>{common("cancel")}</Button>
          <Button
            variant="primary"
            onPress={save}
            isPending={isBusy}
            isDisabled={tooLong || past || !deadline}
          >
            {common("save")}
          </Button>
        </>
      }
    >
      <form
        className={styles.form}
        onSubmit={(event) => {
          event.preventDefault();
          save();
        }}
      >
        <TextField
          label={t("edit.label")}
          hint={t("edit.labelHint")}
          value={label}
          onChange={setLabel}
          autoFocus
          error={tooLong ? t("edit.tooLong") : undefined}
        />
        <TextField
          label={t("edit.deadline")}
          hint={t("edit.deadlineHint")}
          type="datetime-local"
          value={deadline}
          onChange={setDeadline}
          error={past ? t("edit.past") : undefined}
        />
        {/* Enter in a field saves */}
        <button type="submit" hidden tabIndex={-1} aria-hidden="true" />
      </form>
    </Dialog>
  );
}

/** `2026-01-31T12:00` in the reader's zone. */
function localMinute(text: string): string {
  const at = new Date(text);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

/** Both panes as the task has them. */
function fileManagerSearch(task: LiveTask): Record<string, string> | null {
  const item = task.first_item;
  if (!item || !task.source_endpoint_id) return null;
  const tree = item.recursive ?? task.directories > 0;
  const origin = { origin_id: task.source_endpoint_id };
  if (!task.destination_endpoint_id || !item.destination_path)
    return { ...origin, origin_path: directoryOf(item.source_path, false) };
  return {
    ...origin,
    origin_path: directoryOf(item.source_path, tree),
    destination_id: task.destination_endpoint_id,
    destination_path: directoryOf(item.destination_path, tree),
  };
}
