/** Sentences about a task, made of the words in i18n. */

import { useTranslation } from "react-i18next";
import { isFinished, type LiveTask } from "@/api/taskMerge";
import {
  lastName,
  roughly,
  type State,
  said,
  secondsLeft,
  stateOf,
  troubledEndpoint,
} from "@/features/activity/state";
import { bytes, count, duration, time } from "@/ui/format";

export function useTexts() {
  const { t } = useTranslation("activity");

  function ends(task: LiveTask): string {
    const source = task.source_endpoint_display_name ?? t("what.gone");
    if (task.type === "DELETE") return source;
    const destination = task.destination_endpoint_display_name ?? t("what.gone");
    return t("what.transfer", { source, destination });
  }

  function title(task: LiveTask): string {
    if (task.label) return task.label;
    const name = task.first_item ? lastName(task.first_item.source_path) : undefined;
    if (task.type === "TRANSFER") return name ?? ends(task);
    const source = task.source_endpoint_display_name ?? t("what.gone");
    return name ? t("what.itemDelete", { name, source }) : t("what.delete", { source });
  }

  /** `1.2 GiB of 3 GiB`, as far as the whole is known. */
  function bytesDone(task: LiveTask): string {
    const done = bytes(task.bytes_transferred);
    const total = task.bytes_total;
    if (task.type === "DELETE" || isFinished(task) || !total) return done;
    return t(task.walked ? "progress.bytesOf" : "progress.bytesFound", { done, total: bytes(total) });
  }

  function filesDone(task: LiveTask): string {
    if (task.type === "DELETE") return t("progress.deleted", { count: task.files });
    if (task.files === 0 && !isFinished(task))
      return t(stateOf(task).kind === "running" ? "progress.looking" : "progress.nothingYet");
    if (task.files === 0 && task.status === "FAILED") return t("progress.files", { count: 0 });
    const done = count((task.files_transferred ?? 0) + task.files_skipped);
    if (task.status === "SUCCEEDED" && task.subtasks_skipped_errors === 0)
      return t("progress.files", { count: task.files });
    const known = task.walked !== false || isFinished(task);
    return t(known ? "progress.filesOf" : "progress.filesFound", {
      count: task.files,
      done,
      total: count(task.files),
    });
  }

  function left(task: LiveTask): string | null {
    const seconds = secondsLeft(task);
    return seconds === null ? null : t("progress.left", { time: duration(roughly(seconds)) });
  }

  /** What happens now, in a sentence. */
  function next(task: LiveTask, { kind, details }: State): string {
    const transfer = task.type === "TRANSFER";
    switch (kind) {
      case "running":
        if (!transfer) return t("next.runningDelete");
        return t(task.walked === false ? "next.runningWalk" : "next.runningTransfer");
      case "succeeded":
        return t(transfer ? "next.succeededTransfer" : "next.succeededDelete");
      case "skipped":
        return t("next.skipped", { count: task.subtasks_skipped_errors });
      case "waitingTask": {
        const other = said(details, "label");
        return other ? t("next.waitingTaskOf", { task: other }) : t("next.waitingTask");
      }
      case "waitingServer":
      case "credential": {
        const endpoint = troubledEndpoint(task, details)?.name ?? said(details, "endpoint") ?? ends(task);
        return t(`next.${kind}`, { endpoint });
      }
      case "retrying":
        return t("next.retrying", { deadline: time(task.deadline) });
      default:
        return t(`next.${kind}`);
    }
  }

  /** How long one took that has ended. */
  function took(task: LiveTask): string | null {
    const seconds = tookSeconds(task);
    return seconds === null ? null : seconds < 1 ? t("progress.soon") : duration(seconds);
  }

  return { t, ends, title, bytesDone, filesDone, left, next, took };
}

/** Seconds that a task that has ended took; the API's times are whole seconds. */
function tookSeconds(task: LiveTask): number | null {
  if (!task.completion_time) return null;
  return Math.max(0, (Date.parse(task.completion_time) - Date.parse(task.request_time)) / 1000);
}
