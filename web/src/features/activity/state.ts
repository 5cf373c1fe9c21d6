/** How a task does, from what the API says of it. Pure; the words are in i18n/en/activity.json. */

import { isFinished, type LiveTask } from "@/api/taskMerge";

export type StateKind =
  | "queued"
  | "running"
  | "waitingTask"
  | "waitingServer"
  | "credential"
  | "suspended"
  | "paused"
  | "held"
  | "cancelling"
  | "retrying"
  | "succeeded"
  | "skipped"
  | "failed"
  | "cancelled"
  | "expired";

export type Tone = "note" | "good" | "warn" | "danger";

/** Details of an event or of a state: the API gives a JSON object as text, or only text. */
export type Details = Readonly<Record<string, unknown>>;

export interface State {
  kind: StateKind;
  tone: Tone;
  details: Details;
}

const TONES: Record<StateKind, Tone> = {
  queued: "note",
  running: "note",
  waitingTask: "note",
  waitingServer: "warn",
  credential: "warn",
  suspended: "warn",
  paused: "warn",
  held: "warn",
  cancelling: "note",
  retrying: "warn",
  succeeded: "good",
  skipped: "warn",
  failed: "danger",
  cancelled: "note",
  expired: "danger",
};

export function parseDetails(text: string | null | undefined): Details {
  if (!text) return {};
  try {
    const found: unknown = JSON.parse(text);
    if (typeof found === "object" && found !== null && !Array.isArray(found)) return found as Details;
  } catch {
    // not JSON: it is text for people
  }
  return { text };
}

/** A member of details as text; undefined if it is not there. */
export function said(details: Details, name: string): string | undefined {
  const value = details[name];
  return typeof value === "string" && value ? value : undefined;
}

/** What those say who hold a task; undefined if they say nothing. */
export function messages(details: Details): string | undefined {
  const { messages: found } = details;
  if (!Array.isArray(found)) return undefined;
  return found.filter((one) => typeof one === "string" && one).join(" ") || undefined;
}

export function stateOf(task: LiveTask, cancelling = false): State {
  const details = isFinished(task) ? {} : parseDetails(task.nice_status_details);
  const kind = kindOf(task, details, cancelling);
  const tone = kind === "waitingTask" && waitsForOwner(details) ? "warn" : TONES[kind];
  return { kind, tone, details };
}

function kindOf(task: LiveTask, details: Details, cancelling: boolean): StateKind {
  if (task.status === "SUCCEEDED") return task.subtasks_skipped_errors > 0 ? "skipped" : "succeeded";
  if (task.status === "FAILED") {
    const code = task.fatal_error?.code;
    return code === "CANCELED" ? "cancelled" : code === "EXPIRED" ? "expired" : "failed";
  }
  if (cancelling) return "cancelling";
  switch (task.nice_status) {
    case "OWNER_SUSPENDED":
      return "suspended";
    case "PAUSED":
      return "paused";
    case "PAUSED_BY_ADMIN":
      return "held";
    case "WAITING_FOR_TASK":
      return "waitingTask";
  }
  if (task.is_paused) return "paused";
  if (task.status === "INACTIVE") return "credential";
  // only of a server that does not answer it is told when it is asked next
  if (said(details, "tried_next")) return "waitingServer";
  if (task.nice_status === "Queued") return "queued";
  if (task.nice_status === "OK" || task.nice_status === null) return "running";
  return "retrying";
}

/** Whether the task that another one waits for does not go on by itself. */
function waitsForOwner(details: Details): boolean {
  return ["paused", "inactive"].includes(said(details, "state") ?? "");
}

/** Whether somebody has to do something, or should look. */
export function needsAttention(task: LiveTask): boolean {
  const { kind, details } = stateOf(task);
  if (kind === "waitingTask") return waitsForOwner(details);
  return ["waitingServer", "credential", "suspended", "paused", "held", "retrying"].includes(kind);
}

/** The endpoint that the trouble is at; undefined if it is not told. */
export function troubledEndpoint(task: LiveTask, details: Details): { id: string; name: string } | undefined {
  const role = said(details, "role");
  const atSource = role === "source" || (role === undefined && task.destination_endpoint_id === null);
  if (!atSource && role !== "destination") return undefined;
  const id = atSource ? task.source_endpoint_id : task.destination_endpoint_id;
  const name = atSource ? task.source_endpoint_display_name : task.destination_endpoint_display_name;
  return id ? { id, name: name ?? id } : undefined;
}

/** How much is done, 0 to 1; null while nobody can know. */
export function fraction(task: LiveTask): number | null {
  if (task.status === "SUCCEEDED") return 1;
  if (task.files === 0 && stateOf(task).kind !== "running") return 0;
  const { bytes_total: total, walked } = task;
  if (task.type === "TRANSFER" && total && (walked || isFinished(task)))
    return Math.min(task.bytes_transferred / total, 1);
  return isFinished(task) ? 0 : null;
}

/** Seconds until the end if it goes on as now; null where that would be a guess. */
export function secondsLeft(task: LiveTask): number | null {
  const { bytes_total: total, bytes_per_second: rate, walked } = task;
  if (!walked || !total || !rate || stateOf(task).kind !== "running") return null;
  const seconds = (total - task.bytes_transferred) / rate;
  return seconds >= 0 && seconds < LONGEST_GUESS_S ? seconds : null;
}

/** What takes longer will not go at the rate of now. */
const LONGEST_GUESS_S = 30 * 86_400;

/** As exact as it can be meant: seconds in tens, minutes, five minutes, hours. */
export function roughly(seconds: number): number {
  const step = seconds < 60 ? 10 : seconds < 3_600 ? 60 : seconds < 86_400 ? 300 : 3_600;
  return Math.max(Math.ceil(seconds / step), 1) * step;
}

/** The directory of a path that names a file; of a tree's the path itself. */
export function directoryOf(path: string, isTree: boolean): string {
  if (isTree) return path;
  const end = path.replace(/\/+$/, "").lastIndexOf("/");
  return end < 0 ? "/~/" : path.slice(0, end + 1);
}

/** The API's reasons are written to follow something; alone they begin as sentences do. */
export function sentence(text: string): string {
  return text.charAt(0).toLocaleUpperCase() + text.slice(1);
}

export function lastName(path: string): string {
  return path.replace(/\/+$/, "").split("/").at(-1) || path;
}
